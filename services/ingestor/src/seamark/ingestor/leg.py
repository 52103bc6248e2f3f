"""A leg: session after session until it is told to stop, then nothing left unacknowledged."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from seamark.ingestor.errors import OutOfRoom, SettingRefused, VenueUnavailable
from seamark.ingestor.events import SessionEvents
from seamark.ingestor.progress import AckedOffsets, Progress, TopicPartition
from seamark.ingestor.publisher import Publisher
from seamark.ingestor.reference import instrument_record
from seamark.ingestor.session import Ending, Session
from seamark.ingestor.stopping import Stopped, unless_stopped
from seamark.ingestor.venue import FrameReader, Instrument, Venue
from seamark.telemetry.logs import correlated
from seamark.telemetry.metrics import IngestorMetrics

_log = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0  # 300 attempts in 5 minutes are allowed
_STEADY_SECONDS = 30.0
"""A session that lived so long says that the venue is well again."""
_ROOM_POLL_SECONDS = 0.05
_RESTATE_SECONDS = 86_400.0
"""What a venue says of its instruments changes, and the log keeps it for some days only."""


class Leg:
    """One connection at a time for one shard of symbols."""

    def __init__(
        self,
        name: str,
        shard: int,
        venue: Venue,
        publisher: Publisher,
        metrics: IngestorMetrics,
        stop: asyncio.Event,
        ends: Mapping[TopicPartition, int],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """`ends`: the log's ends before this process sends anything. What an earlier life of the leg has
        sent is below them, so that its claims cover that too."""
        self._name, self._shard, self._venue = name, shard, venue
        self._publisher, self._metrics, self._stop, self._now_us = publisher, metrics, stop, now_us
        self._acked = AckedOffsets(ends)
        self._waits = _Waits()

    async def run(self, drain_seconds: float) -> None:
        """Publish until told to stop.

        Raises:
            SettingRefused: the venue does not know a symbol.
            NotDrained: at the end, Kafka did not acknowledge everything in time.
            IngestorError: Kafka has failed for good.
        """
        serving = asyncio.create_task(self._publisher.run())
        sessions = asyncio.create_task(self._sessions(drain_seconds))
        restating = asyncio.create_task(self._restate())
        tasks = (serving, sessions, restating)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (serving, restating):
                if task.done():  # by an error only: without reports no session may go on
                    task.result()
            await sessions
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._publisher.drain(drain_seconds)

    async def _sessions(self, drain_seconds: float) -> None:
        with suppress(Stopped):
            instruments = await self._ask_instruments()
            self._publish_instruments(instruments)
            symbols = [instrument.symbol for instrument in instruments]
            reader = self._venue.frame_reader(instruments)
            while not self._stop.is_set():
                await self._one_session(symbols, reader, drain_seconds)

    async def _restate(self) -> None:
        """Reference data anew each day; where that fails, the next day."""
        while True:
            await asyncio.sleep(_RESTATE_SECONDS)
            try:
                self._publish_instruments(await self._venue.instruments())
            except (VenueUnavailable, SettingRefused, OutOfRoom) as error:
                _log.warning("reference data was not stated anew: %s", error)

    async def _one_session(self, symbols: Sequence[str], reader: FrameReader, drain_seconds: float) -> None:
        await self._until_room()
        session_id = f"{self._name}-{self._shard}-{self._now_us()}"
        with correlated(session_id):
            session = self._session(session_id, symbols, reader)
            began = time.monotonic()
            try:
                ending = await session.run(self._stop)
            except VenueUnavailable as error:
                _log.warning("no connection to the venue: %s", error)
                await self._wait_before_retry("NOT_CONNECTED", 0.0)
                return
            if ending is Ending.STOPPED:
                await self._publisher.drain(drain_seconds)
            session.close()
        if ending is not Ending.STOPPED:
            if time.monotonic() - began >= _STEADY_SECONDS:
                self._waits.reset()
            await self._wait_before_retry(ending.value, 0.0)

    def _session(self, session_id: str, symbols: Sequence[str], reader: FrameReader) -> Session:
        events = SessionEvents(
            self._venue.exchange,
            self._venue.market,
            self._shard,
            self._name,
            session_id,
            self._publisher.topic_ids,
        )
        return Session(
            session_id,
            self._venue,
            symbols,
            reader,
            self._publisher,
            Progress(self._acked),
            events,
            self._metrics,
            self._now_us,
        )

    def _publish_instruments(self, instruments: Sequence[Instrument]) -> None:
        received_us = self._now_us()
        for instrument in instruments:
            record = instrument_record(self._venue.exchange, self._venue.market, instrument, received_us)
            self._publisher.state(instrument.symbol, record)

    async def _ask_instruments(self) -> Sequence[Instrument]:
        while True:
            try:
                instruments = await unless_stopped(self._venue.instruments(), self._stop)
            except VenueUnavailable as error:
                _log.warning("the venue does not state its instruments: %s", error)
                await self._wait_before_retry("NOT_ANSWERED", error.retry_after_seconds)
            else:
                self._waits.reset()
                return instruments

    async def _until_room(self) -> None:
        while not self._publisher.has_room:
            await unless_stopped(asyncio.sleep(_ROOM_POLL_SECONDS), self._stop)

    async def _wait_before_retry(self, cause: str, at_least_seconds: float) -> None:
        self._metrics.reconnects.labels(cause).inc()
        await unless_stopped(asyncio.sleep(max(at_least_seconds, self._waits.next())), self._stop)


class _Waits:
    """Seconds to wait before each attempt: random below a bound that doubles, so that legs spread."""

    def __init__(self) -> None:
        self._bound = _FIRST_WAIT_SECONDS

    def next(self) -> float:
        wait = random.uniform(0, self._bound)
        self._bound = min(2 * self._bound, _LONGEST_WAIT_SECONDS)
        return wait

    def reset(self) -> None:
        self._bound = _FIRST_WAIT_SECONDS
