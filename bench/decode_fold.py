"""Nanoseconds a trade in the writer's two pure steps: decode of a block, fold of first occurrence.

python -m bench.decode_fold
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import islice

from bench.trades import trades
from seamark.market.schema import RecordKind
from seamark.sequencing.fold import fold
from seamark.sequencing.state import PartitionState
from seamark.stream.decode import Decoder
from seamark.stream.rows import records_of

BLOCK = 20_000
_REPEATS = 15


def run() -> dict[str, object]:
    """Best and median of several repeats over one block, ns a trade; `repeats`: 1 % of them twice."""
    values = list(islice(trades(("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"), seed=1), BLOCK))
    doubled = [value for at, value in enumerate(values) for _ in range(1 + (at % 100 == 0))]
    decoder = Decoder(RecordKind.TRADES)
    records = records_of(decoder.decode(values).rows)
    with_repeats = records_of(decoder.decode(doubled).rows)
    return {
        "block": BLOCK,
        "decode_ns": _nanoseconds(lambda: decoder.decode(values)),
        "keys_ns": _nanoseconds(
            lambda: records_of(decoder.decode(values).rows), lambda: decoder.decode(values)
        ),
        "fold_ns": _nanoseconds(lambda: fold(PartitionState(), RecordKind.TRADES, records)),
        "fold_repeats_ns": _nanoseconds(lambda: fold(PartitionState(), RecordKind.TRADES, with_repeats)),
    }


def _nanoseconds(work: Callable[[], object], without: Callable[[], object] | None = None) -> dict[str, int]:
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter_ns()
        work()
        took.append(time.perf_counter_ns() - began)
    spare = _nanoseconds(without) if without else {"best": 0, "median": 0}
    took.sort()
    return {
        "best": took[0] // BLOCK - spare["best"],
        "median": took[_REPEATS // 2] // BLOCK - spare["median"],
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
