"""The market's time and place: when each event is sent, and what is known after a restart.

Events are claimed a chunk at a time in the state file, then sent. All times are moved by one
shift, chosen so that the first frame of the first run is now; it is kept over restarts. Only if
the market has fallen more than a minute behind the clock is it taken to have been closed: the
shift then grows, from the first event that no run has claimed, so that the market is at now again.
"""

import asyncio
import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from .events import Scheduled
from .faults import Emission, FaultInjector
from .hub import Hub
from .klines import Klines
from .source import MarketSource
from .state import MarketState, StateFile

CHUNK_EVENTS = 1_024
BATCH_EVENTS = 256
CLOSED_AFTER_US = 60_000_000
_SHORTEST_SLEEP_SECONDS = 0.001
_PATIENCE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Playback:
    """Plays a source to a hub at `speed` times market time; None is as fast as clients read.

    At a speed the market does not wait: it goes on with nobody listening, and disconnects whoever
    reads too slowly. As fast as clients read, it waits for the slowest, and for a first one.
    """

    def __init__(
        self,
        source: MarketSource,
        faults: FaultInjector,
        hub: Hub,
        state_file: StateFile,
        speed: float | None,
        now_us: Callable[[], int],
    ) -> None:
        self._source = source
        self._klines = Klines([instrument.symbol for instrument in source.instruments])
        self._faults = faults
        self._hub = hub
        self._state_file = state_file
        self._speed = speed
        self._now_us = now_us
        self._stop = asyncio.Event()
        self._origin: tuple[int, int] | None = None  # a market time and the clock time it falls on
        self.position = 0
        self.shift_us: int | None = None
        self.faults_sent: Counter[str] = Counter()

    def stop(self) -> None:
        """Ends `run` soon, with the exact position saved."""
        self._stop.set()

    async def run(self) -> None:
        """Plays until stopped. Begins when the first client has subscribed.

        Raises StateError if the state file is of another source or cannot be used.
        """
        state = self._state_file.load(self._source.identity)
        if state is not None:
            self._source.seek(state.cursor)
            self._klines.resume(state.klines)
            self.position = self._source.position()
        await self._listened_to()
        if self._stop.is_set():
            return
        if state is None:
            self.shift_us = _whole_milliseconds(self._now_us() - self._source.next_due_us())
        else:
            self.shift_us = state.shift_us
            if state.claimed:
                _log.info("sending %d claimed events again from position %d", state.claimed, self.position)
                await self._play_chunk(state.claimed, self.shift_us, again=True)
            if closure_us := self._closure_us(self.shift_us):
                self.shift_us += closure_us
                self._origin = None
        while not self._stop.is_set():
            await self._play_chunk(CHUNK_EVENTS, self.shift_us)

    async def _play_chunk(self, count: int, shift_us: int, again: bool = False) -> None:
        cursor, start, klines = self._source.cursor(), self._source.position(), self._klines.state()
        self._state_file.save(MarketState(self._source.identity, cursor, shift_us, count, klines))
        plan = self._plan(self._source.take(count, shift_us))
        sent = 0
        while sent < len(plan) and not self._stop.is_set():
            ready = self._ready(plan, sent)
            if ready == sent:
                await self._pause(plan[sent].due_us)
                continue
            self._publish(plan[sent:ready])
            full = ready - sent == BATCH_EVENTS
            sent = ready
            self.position = start + min(sent, count)
            await self._give_way(full)
        if self._stop.is_set():
            done = self._publish_until_prefix(plan, sent)
            self._source.seek(cursor)
            self._klines.resume(klines)
            self._klines.pushes(self._source.take(done, shift_us))
            # What an earlier run claimed stays claimed until it is sent: it must keep this shift.
            claimed = count - done if again else 0
            self._state_file.save(
                MarketState(
                    self._source.identity, self._source.cursor(), shift_us, claimed, self._klines.state()
                )
            )
        self.position = self._source.position()

    def _plan(self, chunk: Sequence[Scheduled]) -> list[Emission]:
        """What to send: the chunk with faults, and klines, which no fault touches and which count what truly was."""
        plan = self._faults.apply(chunk)
        klines = [Emission(due_us, -1, kline) for due_us, kline in self._klines.pushes(chunk)]
        return sorted(klines + plan, key=lambda emission: emission.due_us) if klines else plan

    def _publish(self, emissions: Sequence[Emission]) -> None:
        self._hub.publish([emission.event for emission in emissions])
        self.faults_sent.update(each.fault.value for each in emissions if each.fault is not None)

    def _publish_until_prefix(self, plan: Sequence[Emission], sent: int) -> int:
        """Sends what a swap holds back, so that what was sent is a whole prefix of the chunk."""
        places = {emission.place for emission in plan[:sent]} - {-1}
        while len(places) <= max(places, default=-1):
            self._publish(plan[sent : sent + 1])
            places |= {plan[sent].place} - {-1}
            sent += 1
        return len(places)

    def _ready(self, plan: Sequence[Emission], sent: int) -> int:
        """How far into the plan may be sent now."""
        most = min(sent + BATCH_EVENTS, len(plan))
        if self._speed is None:
            return most
        now_us = self._now_us()
        if self._origin is None:
            # A market behind the clock catches up; one ahead (played fast before) goes on from there.
            self._origin = plan[sent].due_us, min(now_us, plan[sent].due_us)
        market_us, clock_us = self._origin
        market_now_us = market_us + (now_us - clock_us) * self._speed
        return bisect_right(plan, market_now_us, sent, most, key=lambda emission: emission.due_us)

    async def _pause(self, due_us: int) -> None:
        assert self._origin is not None and self._speed is not None
        market_us, clock_us = self._origin
        wait_us = clock_us + (due_us - market_us) / self._speed - self._now_us()
        try:
            async with asyncio.timeout(max(_SHORTEST_SLEEP_SECONDS, wait_us / 1_000_000)):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _give_way(self, full: bool) -> None:
        """Lets clients read. Behind time, when batches are full, the market has little patience."""
        if self._speed is None:
            await self._unless_stopped(self._hub.drain())
            await self._listened_to()
        elif full:
            await self._hub.relieve(_PATIENCE_SECONDS)
        await asyncio.sleep(0)

    async def _listened_to(self) -> None:
        if not self._hub.listened_to.is_set():
            await self._unless_stopped(self._hub.listened_to.wait())

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, object]) -> None:
        tasks = asyncio.create_task(waiting), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _closure_us(self, shift_us: int) -> int:
        behind_us = self._now_us() - (self._source.next_due_us() + shift_us)
        if behind_us <= CLOSED_AFTER_US:
            return 0
        _log.info("market was closed for %.0f s, it opens at now", behind_us / 1_000_000)
        return _whole_milliseconds(behind_us)


def _whole_milliseconds(duration_us: int) -> int:
    """Rounded down, so that times of one millisecond stay in one."""
    return duration_us // 1000 * 1000
