"""Who is listening, and the sending of market events to all of them.

For each batch the journal is written first, then the sockets: what a client has seen is always on
record.
"""

import asyncio
from collections.abc import Callable, Iterable

from .connection import Connection, Ending
from .control import Session
from .events import MarketEvent
from .journal import Journal, frame_fields
from .wire import FrameFormat, frame_text, websocket_text_frame


class Hub:
    """The open connections, by number and by stream. `now_us` is the clock of the journal."""

    def __init__(self, journal: Journal, now_us: Callable[[], int]) -> None:
        self._journal = journal
        self._now_us = now_us
        self._last_number = journal.last_connection
        self._listeners: dict[str, list[Connection]] = {}
        self.connections: dict[int, Connection] = {}
        self.frames_sent = 0
        self.listened_to = asyncio.Event()
        """Set while at least one connection is subscribed to anything."""

    def next_number(self) -> int:
        """A connection number never used in this journal."""
        self._last_number += 1
        return self._last_number

    def opened(self, connection: Connection, remote: str) -> None:
        """The connection's handshake is done; it gets frames from now on."""
        self._journal.connection_event(connection.number, "open", self._now_us(), remote=remote)
        self.connections[connection.number] = connection
        session, connection.session = connection.session, Session((), connection.session.combined)
        self.change(connection, session)

    def change(self, connection: Connection, session: Session) -> None:
        """The connection is subscribed as `session` says from now on."""
        before, after = set(connection.session.streams), set(session.streams)
        for stream in before - after:
            self._listeners[stream].remove(connection)
            if not self._listeners[stream]:
                del self._listeners[stream]
        for stream in after - before:
            self._listeners.setdefault(stream, []).append(connection)
        connection.session = session
        connection.form = connection.form._replace(combined=session.combined)
        if self._listeners:
            self.listened_to.set()
        else:
            self.listened_to.clear()

    def ended(self, connection: Connection, ending: Ending) -> None:
        """The connection is over; its end goes to the journal."""
        self.change(connection, Session((), connection.session.combined))
        del self.connections[connection.number]
        self._journal.connection_event(
            connection.number,
            ending.event,
            self._now_us(),
            by=ending.by,
            reason=ending.reason,
            frames=connection.frames_sent,
        )

    def publish(self, events: Iterable[MarketEvent]) -> None:
        """Sends events, in order, to whoever is subscribed to their streams at this moment."""
        touched: dict[int, Connection] = {}
        for event in events:
            listeners = self._listeners.get(event.stream)
            if not listeners:
                continue
            rendered: dict[FrameFormat, tuple[bytes, str]] = {}
            for connection in listeners:
                if not connection.accepts_frames:
                    continue
                form = connection.form
                if form not in rendered:
                    text = frame_text(event, form)
                    rendered[form] = websocket_text_frame(text), frame_fields(event, text)
                frame, fields = rendered[form]
                self._journal.frame(connection.number, connection.add_frame(frame), fields)
                touched[connection.number] = connection
                self.frames_sent += 1
        self._journal.flush()
        for connection in touched.values():
            connection.write()

    async def drain(self) -> None:
        """Waits for the slowest client."""
        for connection in list(self.connections.values()):
            await connection.drain()

    async def relieve(self, patience_seconds: float) -> None:
        """Waits for clients that are far behind, up to the patience; who is still behind is cut."""
        await asyncio.gather(*(each.relieve(patience_seconds) for each in list(self.connections.values())))

    async def close_all(self, code: int, reason: str) -> None:
        """Closes every connection, after all that was sent on it."""
        await asyncio.gather(*(each.close(code, reason) for each in list(self.connections.values())))
