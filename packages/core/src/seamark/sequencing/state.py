"""What must be remembered of a partition's past to tell first occurrences from repeats.

The state at offset H is by definition the fold over the accepted records below H, plus the
running maximum of the append time, which the checkpoint carries beside it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seamark.sequencing.errors import StateCorrupt
from seamark.sequencing.intervals import Intervals

NEVER_US = -(2**62)
"""Before every venue time."""


@dataclass(frozen=True, slots=True, order=True)
class SequenceKey:
    """What a venue numbers on its own."""

    exchange: str
    market: str
    feed: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.exchange}:{self.market}:{self.feed}:{self.symbol}"


@dataclass(frozen=True, slots=True)
class TradeEpoch:
    """The ids accepted between one reset of the venue's numbers and the next."""

    opened_us: int
    """Venue time from which records belong to this epoch; NEVER_US for the first."""
    ids: Intervals = field(default_factory=Intervals.empty)


@dataclass(frozen=True, slots=True)
class TradeSequence:
    """Trades of one key: accepted ids by epoch and the greatest accepted venue time."""

    epochs: tuple[TradeEpoch, ...] = (TradeEpoch(NEVER_US),)
    greatest_us: int = NEVER_US


@dataclass(frozen=True, slots=True)
class QuoteSequence:
    """Quotes of one key: the last accepted update id and time, and the epoch they are in."""

    epoch: int = 0
    greatest_id: int = -1
    greatest_us: int = NEVER_US


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The fold over one partition up to an offset. Immutable: a fold returns the next one."""

    append_us: int = 0
    """Running maximum of the append time, microseconds."""
    trades: Mapping[SequenceKey, TradeSequence] = field(default_factory=dict)
    quotes: Mapping[SequenceKey, QuoteSequence] = field(default_factory=dict)


_MAGIC = b"seamark-state 1 "


def dump(states: Mapping[str, PartitionState]) -> bytes:
    """Bytes of named states with a checksum; equal states give equal bytes."""
    body = json.dumps(
        {name: _to_json(state) for name, state in states.items()}, sort_keys=True, separators=(",", ":")
    ).encode()
    packed = zlib.compress(body, 1)
    return _MAGIC + hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed


def load(data: bytes) -> dict[str, PartitionState]:
    """Inverse of `dump`.

    Raises:
        StateCorrupt: the bytes are not a whole state file.
    """
    head, _, packed = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise StateCorrupt(f"state file began with {data[:16]!r}, must begin with {_MAGIC!r}")
    if hashlib.sha256(packed).hexdigest().encode() != head[len(_MAGIC) :]:
        raise StateCorrupt("state file's checksum differs from its content")
    return {name: _from_json(state) for name, state in json.loads(zlib.decompress(packed)).items()}


def _key_text(key: SequenceKey) -> str:
    # Any character may stand in a symbol: a JSON list cannot be mistaken.
    return json.dumps([key.exchange, key.market, key.feed, key.symbol])


def _to_json(state: PartitionState) -> dict[str, object]:
    return {
        "append_us": state.append_us,
        "trades": {
            _key_text(key): {
                "greatest_us": sequence.greatest_us,
                "epochs": [
                    [epoch.opened_us, epoch.ids.starts.tolist(), epoch.ids.ends.tolist()]
                    for epoch in sequence.epochs
                ],
            }
            for key, sequence in state.trades.items()
        },
        "quotes": {
            _key_text(key): [sequence.epoch, sequence.greatest_id, sequence.greatest_us]
            for key, sequence in state.quotes.items()
        },
    }


def _from_json(document: Mapping[str, object]) -> PartitionState:
    trades: Mapping[str, dict[str, object]] = document["trades"]  # type: ignore[assignment]
    quotes: Mapping[str, list[int]] = document["quotes"]  # type: ignore[assignment]
    return PartitionState(
        append_us=document["append_us"],  # type: ignore[arg-type]
        trades={
            SequenceKey(*json.loads(key)): TradeSequence(
                tuple(
                    TradeEpoch(opened, Intervals(np.array(starts, np.int64), np.array(ends, np.int64)))
                    for opened, starts, ends in sequence["epochs"]  # type: ignore[attr-defined]
                ),
                sequence["greatest_us"],  # type: ignore[arg-type]
            )
            for key, sequence in trades.items()
        },
        quotes={SequenceKey(*json.loads(key)): QuoteSequence(*values) for key, values in quotes.items()},
    )
