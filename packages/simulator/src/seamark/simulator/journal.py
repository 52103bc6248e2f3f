"""The record of what was sent: JSON lines, append-only, one line a frame and connection.

Lines reach the operating system before their frames reach the socket. So whatever a client has
received is in the journal, even if the simulator is killed; the reverse holds for connections
closed by a handshake only. The format is described in the README of this package.
"""

import json
import mmap
import os
from pathlib import Path

from .errors import JournalError
from .events import BookTicker, Kline, MarketEvent, Trade

_OPENED = b'"event":"open"'


def frame_fields(event: MarketEvent, sent_text: str) -> str:
    """The fields of a frame's line that do not depend on the connection, without braces.

    `sent_text` is what went out; it is kept for malformed frames, which have no other identity.
    """
    start = f'"stream":"{event.stream}","symbol":"{event.symbol}",'
    if isinstance(event, Trade):
        maker = "true" if event.buyer_is_maker else "false"
        return (
            f'{start}"kind":"trade","id":{event.trade_id},"price":"{event.price}",'
            f'"qty":"{event.quantity}","T":{event.trade_time_us},"m":{maker}'
        )
    if isinstance(event, BookTicker):
        return (
            f'{start}"kind":"bookTicker","u":{event.update_id},"b":"{event.bid_price}",'
            f'"B":"{event.bid_quantity}","a":"{event.ask_price}","A":"{event.ask_quantity}"'
        )
    if isinstance(event, Kline):
        closed = "true" if event.closed else "false"
        return (
            f'{start}"kind":"kline","t":{event.start_us},"f":{event.first_id},"L":{event.last_id},'
            f'"n":{event.trades},"x":{closed}'
        )
    return f'{start}"kind":"malformed","text":{json.dumps(sent_text)}'


class Journal:
    """Collects lines and appends them to a file, a batch in one write.

    Raises JournalError if the file cannot be opened. A last line torn by a kill is taken off: its
    write never ended, so its frames were never sent.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
            self.last_connection = _repair(self._file.fileno())
        except OSError as error:
            raise JournalError(f"journal {path} cannot be opened for appending: {error}") from error
        self._lines: list[str] = []

    def frame(self, connection: int, sequence: int, fields: str) -> None:
        """A frame about to be sent. `sequence` counts the frames of the connection from 1."""
        self._lines.append(f'{{"conn":{connection},"seq":{sequence},{fields}}}\n')

    def connection_event(self, connection: int, event: str, time_us: int, **details: str | int) -> None:
        """The connection was opened, or ended as `closed` or `cut`; written at once."""
        line = {"conn": connection, "event": event, "time_us": time_us, **details}
        self._lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        self.flush()

    def flush(self) -> None:
        """Hands the collected lines to the operating system."""
        if self._lines:
            remaining = memoryview("".join(self._lines).encode("ascii"))
            self._lines.clear()
            while remaining:
                remaining = remaining[self._file.write(remaining) :]

    def close(self) -> None:
        """Flushes and closes the file, on disk. A second time does nothing."""
        if self._file.closed:
            return
        self.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _repair(descriptor: int) -> int:
    """Takes off a torn last line; returns the highest connection number so far, 0 if none."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return 0
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        whole = content.rfind(b"\n") + 1
        opened = content.rfind(_OPENED, 0, whole)
        line = b""
        if opened >= 0:
            line = content[content.rfind(b"\n", 0, opened) + 1 : content.find(b"\n", opened)]
    os.truncate(descriptor, whole)
    return int(json.loads(line)["conn"]) if line else 0
