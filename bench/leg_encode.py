"""How many frames a second one core takes from the socket's bytes to Kafka's producer.

Frames are built in memory; what is measured is the leg's own path: decode, encode, hand over,
delivery report. `null` swallows records at once; with `--bootstrap` they go to topics made for
the occasion in a real Kafka, and every one must be acknowledged.

    python -m bench.leg_encode [--frames N] [--quotes SHARE] [--bootstrap HOST:PORT]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client import CollectorRegistry

from seamark.ingestor.frames import BinanceFrames
from seamark.ingestor.progress import AckedOffsets, Delivered, Progress
from seamark.ingestor.publisher import Destination, LogProducer, Publisher, connect
from seamark.ingestor.venue import Accepted, Instrument
from seamark.market.routing import bundled_tiers, routing_for
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder
from seamark.stream.wire import FIXED_SCHEMA_IDS
from seamark.telemetry.metrics import IngestorMetrics

PARTITIONS = 4
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "SHIBUSDT", "ARBUSDT", "JASMYUSDT")
_START_US = 1_723_161_255_342_000
_REPEATS = 3
_POLL_EVERY = 256
_UNACKED_LIMIT = 1_000_000
_FLUSH_SECONDS = 120.0


def run(frames: int = 100_000, quote_share: float = 0.5, bootstrap: str | None = None) -> dict[str, object]:
    """Figures as JSON-able values; times are CPU microseconds of this process, all its threads together.

    `frames_per_cpu_second` is what one core carries. Raises RuntimeError if a record was not acknowledged.
    """
    payloads = build_frames(frames, quote_share)
    reader = BinanceFrames("spot", _instruments())
    decoded = [reader.read(payload, _START_US) for payload in payloads]
    accepted = [found for found in decoded if isinstance(found, Accepted)]
    stream = next(found.stream for found in accepted if found.stream.kind is RecordKind.TRADES)
    trades = [found.record for found in accepted if found.stream is stream]
    encoder = Encoder(stream.kind, FIXED_SCHEMA_IDS[stream.kind], stream.constants, stream.present)
    figures: dict[str, object] = {
        "frames": frames,
        "quote_share": quote_share,
        "sink": "null" if bootstrap is None else "kafka",
        "decode_us": _best(lambda: [reader.read(payload, _START_US) for payload in payloads], frames),
        "encode_trade_us": _best(lambda: [encoder.encode(trade) for trade in trades], len(trades)),
        "bytes_per_trade": len(encoder.encode(trades[0])),
    }
    with _sink(bootstrap) as (producer, topics):
        cpu_seconds, wall_seconds = _whole_path(payloads, reader, producer, topics)
    return figures | {
        "path_us": round(cpu_seconds / frames * 1e6, 2),
        "frames_per_cpu_second": round(frames / cpu_seconds),
        "frames_per_second": round(frames / wall_seconds),
    }


def build_frames(count: int, quote_share: float) -> list[bytes]:
    """Seeded frames as the venue sends them; ids of a symbol go up by one."""
    rng = random.Random(7)
    ids = dict.fromkeys(SYMBOLS, 3_735_683_000)
    frames = []
    for number in range(count):
        symbol = rng.choice(SYMBOLS)
        ids[symbol] += 1
        price, quantity = f"{rng.uniform(20_000, 70_000):.2f}000000", f"{rng.uniform(0, 3):.5f}000"
        if rng.random() < quote_share:
            data = (
                f'{{"u":{ids[symbol]},"s":"{symbol}","b":"{price}","B":"{quantity}",'
                f'"a":"{price}","A":"{quantity}"}}'
            )
            frames.append(f'{{"stream":"{symbol.lower()}@bookTicker","data":{data}}}'.encode())
        else:
            time_us = _START_US + number
            data = (
                f'{{"e":"trade","E":{time_us + 900},"s":"{symbol}","t":{ids[symbol]},"p":"{price}",'
                f'"q":"{quantity}","T":{time_us},"m":{rng.choice(("true", "false"))},"M":true}}'
            )
            frames.append(f'{{"stream":"{symbol.lower()}@trade","data":{data}}}'.encode())
    return frames


def _whole_path(
    payloads: list[bytes], reader: BinanceFrames, producer: LogProducer, topics: dict[RecordKind, str]
) -> tuple[float, float]:
    """(CPU seconds, wall seconds) from the first frame to the last acknowledgement."""
    tiers = bundled_tiers("crypto")
    destinations = {
        kind: Destination(topic, topic, routing_for(topic, kind, PARTITIONS, tiers))
        for kind, topic in topics.items()
    }
    publisher = Publisher(producer, destinations, _UNACKED_LIMIT, IngestorMetrics(CollectorRegistry()))
    progress = Progress(AckedOffsets())
    began_cpu, began = time.process_time(), time.perf_counter()
    for number, payload in enumerate(payloads):
        found = reader.read(payload, time.time_ns() // 1_000)
        if not isinstance(found, Accepted):
            raise RuntimeError(f"frame {number} was refused: {found}")
        interval = progress.interval
        publisher.publish(found.stream, found.record, interval.on_delivery)
        interval.sent += 1
        if found.venue_us is not None:
            progress.received(found.venue_us)
        if number % _POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(_FLUSH_SECONDS)
    cpu_seconds, wall_seconds = time.process_time() - began_cpu, time.perf_counter() - began
    if left or not progress.interval.complete:
        raise RuntimeError(f"{left} of {len(payloads)} records were not acknowledged")
    return cpu_seconds, wall_seconds


class _NullProducer:
    """Acknowledges everything at the next poll."""

    def __init__(self) -> None:
        self._reports: list[tuple[Callable[[object | None, Delivered], None], Delivered]] = []
        self._next = 0

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = None,
        partition: int = 0,
        *,
        on_delivery: Callable[[object | None, Delivered], None] | None = None,
        headers: object = None,
    ) -> None:
        assert on_delivery is not None
        self._next += 1
        self._reports.append((on_delivery, _Placed(topic, partition, self._next)))

    def poll(self, timeout: float) -> int:
        reports, self._reports = self._reports, []
        for on_delivery, placed in reports:
            on_delivery(None, placed)
        return len(reports)

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return 0

    def __len__(self) -> int:
        return len(self._reports)


class _Placed:
    __slots__ = ("_offset", "_partition", "_topic")

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset


@contextmanager
def _sink(bootstrap: str | None) -> Iterator[tuple[LogProducer, dict[RecordKind, str]]]:
    run_name = uuid4().hex[:8]
    topics = {kind: f"bench.{kind.value}.{run_name}" for kind in (RecordKind.TRADES, RecordKind.QUOTES)}
    if bootstrap is None:
        yield _NullProducer(), topics
        return
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"message.timestamp.type": "LogAppendTime"}
    created = admin.create_topics(
        [NewTopic(topic, PARTITIONS, 1, config=config) for topic in topics.values()]
    )
    for future in created.values():
        future.result(30)
    try:
        yield connect(bootstrap, f"bench-{run_name}", 5.0, _UNACKED_LIMIT), topics
    finally:
        for future in admin.delete_topics(list(topics.values())).values():
            future.result(30)


def _best(work: Callable[[], object], count: int) -> float:
    """CPU microseconds for one of `count`, the best of a few runs: the rest is other people's noise."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return round(best / count * 1e6, 2)


def _instruments() -> list[Instrument]:
    return [Instrument(symbol, "TRADING", symbol[:-4], "USDT", None, None, 0, "{}") for symbol in SYMBOLS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--quotes", type=float, default=0.5, help="share of book tickers, 0 to 1")
    parser.add_argument("--bootstrap", help="a Kafka; without it records go nowhere")
    given = parser.parse_args()
    print(json.dumps(run(given.frames, given.quotes, given.bootstrap), indent=2))
