"""What goes wrong with frames: repeats, swaps and frames no client can accept.

Frame faults are a transformation of a chunk of the market's schedule, before any connection sees
it: every connection meets the same ones. Faults of a connection (a cut, a silent half-open
socket) are another thing and belong to the connection.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec

from .events import Malformed, MarketEvent, Scheduled, Trade

_EXCESS_DIGITS = "0000000000000000000000000001"


@dataclass(frozen=True, slots=True)
class FrameFaults:
    """How much goes wrong. Shares are of trades; a share or an interval of 0 turns a fault off."""

    repeat_share: float = 0.01
    swap_share: float = 0.01
    malformed_interval_seconds: float = 60.0
    window_ms: int = 200
    """A trade is sent late or again within this much market time."""


class Fault(Enum):
    """What is wrong with one emission."""

    REPEATED = "repeated"
    SWAPPED = "swapped"
    MALFORMED = "malformed"


class Emission(NamedTuple):
    """An event to be sent. `place` is where in its chunk it came from, -1 if it came from none."""

    due_us: int
    place: int
    event: MarketEvent
    fault: Fault | None = None


class FaultInjector:
    """Applies FrameFaults, chunk by chunk, from a seed. Knows no clock and no connection."""

    def __init__(self, faults: FrameFaults, seed: int) -> None:
        self._faults = faults
        self._random = random.Random(seed)
        self._window_us = faults.window_ms * 1000
        self._interval_us = round(faults.malformed_interval_seconds * 1_000_000)
        self._swaps_owed = 0.0
        self._interval_number: int | None = None
        self._truncate_next = True

    def apply(self, chunk: Sequence[Scheduled]) -> list[Emission]:
        """The chunk with faults in it, by due time.

        Every event of the chunk is there at least once, none earlier than it was due, and none later
        than the last one was due: chunks follow one another without waiting. A swapped
        trade follows the next trade of its symbol, at that one's due time; trades with no such
        successor within the window, or within the chunk, are not picked. Malformed frames are
        extra: one for each interval of market time that a trade begins, none for the first.
        """
        plan = [Emission(due_us, index, event) for index, (due_us, event) in enumerate(chunk)]
        disturbed = self._swap(plan)
        extra = self._repeats(disturbed) + self._malformed(disturbed)
        if extra:
            disturbed = sorted(disturbed + extra, key=lambda emission: emission.due_us)
        return disturbed

    def _swap(self, plan: list[Emission]) -> list[Emission]:
        share = self._faults.swap_share
        if not share:
            return plan
        followers = _next_trades(plan, self._window_us)
        held: dict[int, Emission] = {}  # by the index of the trade each is sent after
        swapped: list[Emission] = []
        for emission in plan:
            own_turn = held.pop(emission.place, None)
            follower = followers.get(emission.place)
            if isinstance(emission.event, Trade):
                self._swaps_owed += share
            if own_turn is None and follower is not None and self._picks_swap():
                held[follower] = emission._replace(due_us=plan[follower].due_us, fault=Fault.SWAPPED)
                continue
            swapped.append(emission)
            if own_turn is not None:
                swapped.append(own_turn)
        return swapped

    def _picks_swap(self) -> bool:
        """The share of trades that could not be swapped falls to the next one that can."""
        owed, self._swaps_owed = self._swaps_owed, 0.0
        return self._random.random() < owed

    def _repeats(self, plan: list[Emission]) -> list[Emission]:
        share = self._faults.repeat_share
        if not share:
            return []
        repeats: list[Emission] = []
        for emission in plan:
            if isinstance(emission.event, Trade) and self._random.random() < share:
                latest_us = min(self._window_us, plan[-1].due_us - emission.due_us)
                again_us = emission.due_us + self._random.randrange(latest_us + 1)
                repeats.append(emission._replace(due_us=again_us, fault=Fault.REPEATED))
        return repeats

    def _malformed(self, plan: list[Emission]) -> list[Emission]:
        extra: list[Emission] = []
        if not self._interval_us:
            return extra
        for due_us, _, event, _ in plan:
            number = due_us // self._interval_us
            if self._interval_number is None:
                self._interval_number = number
            if number > self._interval_number and isinstance(event, Trade):
                self._interval_number = number
                extra.append(Emission(due_us, -1, self._spoil(event), Fault.MALFORMED))
        return extra

    def _spoil(self, trade: Trade) -> Malformed:
        """In turns: breaks the frame off in the middle, or gives the price too many digits."""
        truncate = self._truncate_next
        self._truncate_next = not truncate
        if not truncate:
            trade = msgspec.structs.replace(trade, price=trade.price + _EXCESS_DIGITS)
        return Malformed(trade.symbol, trade.stream, trade, truncate)


def _next_trades(plan: Sequence[Emission], window_us: int) -> dict[int, int]:
    """For each trade the next one of its symbol, where that is due within the window."""
    following: dict[int, int] = {}
    latest: dict[str, Emission] = {}
    for emission in plan:
        if isinstance(emission.event, Trade):
            before = latest.get(emission.event.symbol)
            if before is not None and emission.due_us - before.due_us <= window_us:
                following[before.place] = emission.place
            latest[emission.event.symbol] = emission
    return following
