"""One connection to the venue: its frames to Kafka, its events, how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from seamark.ingestor.errors import IngestorError, OutOfRoom, VenueUnavailable
from seamark.ingestor.events import SessionEvents
from seamark.ingestor.progress import Delivered, Progress
from seamark.ingestor.publisher import Publisher
from seamark.ingestor.stopping import unless_stopped
from seamark.ingestor.venue import Accepted, Announced, FrameReader, Notice, Refused, Venue
from seamark.stream.deadletter import DeadLetter, VenueFrame
from seamark.telemetry.metrics import IngestorMetrics

_log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_PING_AFTER_IDLE_SECONDS = 10.0
_PONG_SECONDS = 10.0
_LARGEST_FRAME_BYTES = 512 * 1024  # a refused frame must still fit into one Kafka record
_MARK_SECONDS = 1.0
_CLAIM_SECONDS = 0.02
_SAMPLE_EVERY = 64


class Ending(Enum):
    """Why a session is over: the cause in SESSION_CLOSED."""

    STOPPED = "STOPPED"
    VENUE_CLOSED = "VENUE_CLOSED"
    CONNECTION_LOST = "CONNECTION_LOST"
    BACKPRESSURE = "BACKPRESSURE"
    """The frame that found no room, and all behind it, are not in the log."""
    PUBLISH_FAILED = "PUBLISH_FAILED"


class Session(WSListener):
    """From `open` to its ending, a session handles each frame as it comes and never waits for Kafka."""

    def __init__(
        self,
        session_id: str,
        venue: Venue,
        symbols: Sequence[str],
        reader: FrameReader,
        publisher: Publisher,
        progress: Progress,
        events: SessionEvents,
        metrics: IngestorMetrics,
        now_us: Callable[[], int],
    ) -> None:
        self.session_id = session_id
        self._venue, self._symbols, self._reader, self._publisher = venue, symbols, reader, publisher
        self._progress, self._events, self._metrics, self._now_us = progress, events, metrics, now_us
        self._ending: Ending | None = None
        self._reason = ""
        self._failure: IngestorError | None = None
        self._frames = self._frames_counted = self._refused = 0
        self._transport: WSTransport | None = None

    async def run(self, stop: asyncio.Event) -> Ending:
        """Connect, and return when the connection is over or `stop` was set and it is closed.

        Raises:
            VenueUnavailable: no connection came about; nothing was published.
            Stopped: nor was any before `stop` was set.
            IngestorError: Kafka has failed for good.
        """
        connecting = ws_connect(
            lambda: self,
            self._venue.stream_url(),
            enable_auto_ping=True,
            auto_ping_idle_timeout=_PING_AFTER_IDLE_SECONDS,
            auto_ping_reply_timeout=_PONG_SECONDS,
            max_frame_size=_LARGEST_FRAME_BYTES,
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                transport, _ = await unless_stopped(connecting, stop)
        except (OSError, TimeoutError, WSError) as error:
            raise VenueUnavailable(f"{type(error).__name__} {error}".strip()) from error
        over = asyncio.create_task(self._until_disconnected(transport))
        stopping = asyncio.create_task(stop.wait())
        helpers = [asyncio.create_task(self._report()), asyncio.create_task(self._prove_idle(transport))]
        try:
            # A helper ends by an error only: without its reports the session must not go on.
            await asyncio.wait((over, stopping, *helpers), return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                if stop.is_set():
                    self._end(Ending.STOPPED, "")
                else:
                    self._end(Ending.PUBLISH_FAILED, "the session's events could not be published")
                await asyncio.wait((over,), timeout=_CLOSE_SECONDS)
                transport.disconnect(graceful=False)
            await over
        finally:
            stopping.cancel()
            for helper in helpers:
                helper.cancel()
            await asyncio.wait((stopping, *helpers))
            self._count_frames()
        for helper in helpers:
            if not helper.cancelled():
                helper.result()
        if self._failure is not None:
            raise self._failure
        return self._ending or Ending.CONNECTION_LOST

    def close(self) -> None:
        """Publish how the session ended: what stands of its claims, then SESSION_CLOSED. Call once, after `run`."""
        self._progress.mark()
        self._publish_claim()
        ending = self._ending or Ending.CONNECTION_LOST
        detail = {"reason": self._reason, "frames": self._frames, "refused": self._refused}
        self._publisher.announce(self._events.key, self._events.closed(self._now_us(), ending.value, detail))
        _log.info("session closed", extra={"cause": ending.value, **detail})

    # What picows calls.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._metrics.connections_opened.inc()
        self._publisher.announce(self._events.key, self._events.opened(self._now_us(), self._symbols))
        _log.info("session opened", extra={"symbols": len(self._symbols)})

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT and frame.fin:
            if self._ending in (None, Ending.STOPPED):  # what comes before the venue's goodbye counts
                self._on_text(frame)
        elif frame.msg_type is WSMsgType.CLOSE:
            self._end(Ending.VENUE_CLOSED, f"{frame.get_close_code():d} {frame.get_close_reason()}".strip())
        elif frame.msg_type is not WSMsgType.PONG:
            self._end(Ending.VENUE_CLOSED, f"frame of type {frame.msg_type}, must be whole text frames")

    def _on_text(self, frame: WSFrame) -> None:
        received_us = self._now_us()
        self._frames += 1
        try:
            payload = frame.get_payload_as_memoryview()
            found = self._reader.read(payload, received_us)
            if isinstance(found, Accepted):
                self._on_record(found, received_us)
            elif isinstance(found, Refused):
                self._on_refused(found, bytes(payload), received_us)
            elif isinstance(found, Announced):
                self._on_event(found)
            elif found is not None:
                self._on_notice(found)
        except OutOfRoom as error:
            self._progress.lost()
            self._end(Ending.BACKPRESSURE, str(error))
        except IngestorError as error:
            self._progress.lost()
            self._failure = error
            self._end(Ending.PUBLISH_FAILED, str(error))

    def _on_record(self, found: Accepted, received_us: int) -> None:
        interval = self._progress.interval
        on_delivery = interval.on_delivery
        if self._frames % _SAMPLE_EVERY == 0:
            on_delivery = partial(self._on_sampled_delivery, on_delivery, received_us)
            if found.published_us is not None:
                self._metrics.event_to_receive_seconds.observe((received_us - found.published_us) / 1e6)
        self._publisher.publish(found.stream, found.record, on_delivery)
        interval.sent += 1
        if found.venue_us is not None:
            self._progress.received(found.venue_us)

    def _on_refused(self, found: Refused, frame: bytes, received_us: int) -> None:
        interval = self._progress.interval
        self._refused += 1
        self._metrics.frames_refused.inc()
        source = VenueFrame(
            self._venue.exchange,
            self._venue.market,
            self.session_id,
            received_us,
            found.feed,
            found.symbol,
            found.native_id,
        )
        letter = DeadLetter(source, found.reason)
        self._publisher.refuse(letter, found.symbol, frame, interval.on_beside)
        interval.sent += 1
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, 8th: a flood is told in few lines
            _log.warning("frame refused", extra={"reason": found.reason, "refused": self._refused})

    def _on_event(self, found: Announced) -> None:
        interval = self._progress.interval
        self._publisher.announce(found.key, found.event, interval.on_beside)
        interval.sent += 1

    def _on_notice(self, notice: Notice) -> None:
        _log.warning("notice of the venue: %s", notice.text)

    def _on_sampled_delivery(
        self,
        on_delivery: Callable[[object | None, Delivered], None],
        received_us: int,
        error: object | None,
        record: Delivered,
    ) -> None:
        self._metrics.receive_to_ack_seconds.observe((self._now_us() - received_us) / 1e6)
        on_delivery(error, record)

    async def _until_disconnected(self, transport: WSTransport) -> None:
        try:
            await transport.wait_disconnected()
        except WSError as error:  # a frame that breaks the WebSocket protocol
            self._end(Ending.VENUE_CLOSED, str(error))

    def _end(self, ending: Ending, reason: str) -> None:
        """The first reason counts. Says goodbye; `run` sees the connection off."""
        if self._ending is None:
            self._ending, self._reason = ending, reason
        if self._transport is None:
            return
        self._transport.send_close(WSCloseCode.OK)
        if ending is not Ending.STOPPED:
            self._transport.disconnect()

    async def _report(self) -> None:
        """Each second a mark; PROGRESS as soon as what was received before it is acknowledged."""
        next_mark = time.monotonic() + _MARK_SECONDS
        while True:
            await asyncio.sleep(_CLAIM_SECONDS)
            if time.monotonic() >= next_mark:
                next_mark += _MARK_SECONDS
                self._progress.mark()
                self._count_frames()
            self._publish_claim()
            if self._progress.failed and self._ending is None:
                self._metrics.publish_failures.inc()
                self._end(Ending.PUBLISH_FAILED, "Kafka has given up on a record of this session")

    def _publish_claim(self) -> None:
        claim = self._progress.claim()
        if claim is not None:
            self._publisher.announce(self._events.key, self._events.progress(self._now_us(), claim))

    async def _prove_idle(self, transport: WSTransport) -> None:
        """While nothing comes, take the venue's clock for the time reached.

        A silent connection proves nothing by itself. The venue answers a ping behind all it
        had sent before, so the pong proves that everything up to the clock's time is here.
        """
        while True:
            seen = self._progress.venue_us
            await asyncio.sleep(_MARK_SECONDS)
            if self._progress.venue_us != seen:
                continue
            try:
                venue_us = await self._venue.time_us()
                async with asyncio.timeout(_PONG_SECONDS):
                    await transport.measure_roundtrip_time(1)
            except VenueUnavailable as error:
                _log.info("the venue's clock could not be asked: %s", error)
                await asyncio.sleep(error.retry_after_seconds)
            except (TimeoutError, ConnectionError) as error:
                _log.info("the venue did not answer a ping: %s", str(error) or "no answer in time")
            else:
                self._progress.received(venue_us)

    def _count_frames(self) -> None:
        counted = self._frames - self._frames_counted
        self._frames_counted = self._frames
        self._metrics.frames_received.inc(counted)
