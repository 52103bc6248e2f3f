"""The terminal: one live table, or plain lines where nobody watches."""

import os
import time
from collections import deque
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seamark.local.readings import Reading

_RATE_SECONDS = 5.0
_LINE_SECONDS = 5.0


class View:
    """Says events as they come and shows readings. Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self.began_seconds = time.monotonic() - _process_age_seconds()
        """When this process was started, by the monotonic clock."""
        self._live: Live | None = None
        self._recent: deque[Reading] = deque()
        self._next_line = 0.0

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        self.freeze()

    def say(self, text: str) -> None:
        """An event, with the seconds since the start."""
        self._console.print(
            f"{time.monotonic() - self.began_seconds:6.1f} s  {text}", soft_wrap=True, markup=False
        )

    def plain(self, text: str) -> None:
        """Text as it is: the proof."""
        self._console.print(text, soft_wrap=True, markup=False)

    def show(self, reading: Reading, state: str) -> None:
        """The newest reading; `state` is what the demo is doing."""
        self._recent.append(reading)
        while len(self._recent) > 2 and reading.at_seconds - self._recent[0].at_seconds > _RATE_SECONDS:
            self._recent.popleft()
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False)
                self._live.start()
            self._live.update(self._picture(reading, state), refresh=True)
        elif reading.at_seconds >= self._next_line:
            self._next_line = reading.at_seconds + _LINE_SECONDS
            self.say(self._line(reading, state))

    def freeze(self) -> None:
        """Leaves the last picture standing; what is said next comes below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rate(self, table: str) -> float:
        first, last = self._recent[0], self._recent[-1]
        seconds = last.at_seconds - first.at_seconds
        return (last.tables[table].end - first.tables[table].end) / seconds if seconds else 0.0

    def _line(self, reading: Reading, state: str) -> str:
        tables = reading.tables.values()
        return (
            f"{state}: {sum(map(self._rate, reading.tables)):,.0f} records/s, "
            f"in Kafka {sum(t.end for t in tables):,}, lag {sum(t.lag for t in tables):,}, "
            f"rows committed {reading.rows:,}, duplicates {sum(t.duplicates for t in tables):,}, "
            f"refused {reading.frames_refused:,}, files {sum(t.files for t in tables):,}, "
            f"commit {reading.commit_seconds:.2f} s, age {max(t.committed_age_seconds for t in tables):.1f} s"
        )

    def _picture(self, reading: Reading, state: str) -> Group:
        grid = Table(
            title=f"Seamark, {time.monotonic() - self.began_seconds:.0f} s: {state}", title_justify="left"
        )
        grid.add_column("")
        for heading in ("in Kafka", "records/s", "lag", "age s", "rows", "duplicates", "files", "snapshots"):
            grid.add_column(heading, justify="right")
        for name, table in reading.tables.items():
            grid.add_row(
                name,
                f"{table.end:,}",
                f"{self._rate(name):,.0f}",
                f"{table.lag:,}",
                f"{table.committed_age_seconds:.1f}",
                f"{table.rows:,}",
                f"{table.duplicates:,}",
                f"{table.files:,}",
                f"{table.snapshots:,}",
            )
        writer = "writer: does not run"
        if reading.buffered_rows is not None:
            writer = (
                f"writer: {reading.buffered_rows:,} rows buffered, {reading.commits:,} commits, "
                f"{reading.commit_seconds:.2f} s each"
            )
        leg = (
            f"leg: {reading.frames_received:,} frames, {reading.frames_refused:,} refused, "
            f"{reading.connections_opened:,} connections"
        )
        return Group(grid, Text(f"{writer}\n{leg}"))


def _process_age_seconds() -> float:
    """How long this process has run already: its imports count for whoever waits. 0 if unknown."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return 0.0
    started_ticks = int(stat.read_text().rsplit(")", 1)[1].split()[19])  # proc(5), field 22
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
