"""Blocks on disk: uncompressed Arrow files, mapped when read, so that the system's page cache decides what stays.

Indexes of symbols are the one thing of such blocks that takes memory of the process and grows with the rows: those
that were asked for last are kept, up to a size.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow as pa

from seamark.startup import StartRefused
from seamark.tail_cache.blocks import Block, Positions, SymbolIndex, indexed

_SUFFIX = ".spilled.arrow"


class _Indexes:
    """Indexes of spilled rows, by file. Any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Path, SymbolIndex] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0

    def of(self, rows: Spilled) -> SymbolIndex | None:
        with self._lock:
            if (known := self._kept.get(rows.path)) is not None:
                self._kept.move_to_end(rows.path)
                return known
        made = indexed(rows)
        if made is not None:
            with self._lock:
                if rows.path not in self._kept:  # another reader may have been faster
                    self._kept[rows.path] = made
                    self.held_bytes += made.memory_bytes
                while self.held_bytes > self._most_bytes:
                    self.held_bytes -= self._kept.popitem(last=False)[1].memory_bytes
        return made

    def forget(self, path: Path) -> None:
        with self._lock:
            gone = self._kept.pop(path, None)
            self.held_bytes -= gone.memory_bytes if gone is not None else 0


@dataclass(frozen=True, slots=True, eq=False)
class Spilled:
    """Rows in a mapped file. It can be read until the last reader lets go, though it be deleted."""

    table: pa.Table
    path: Path
    file_bytes: int
    _indexes: _Indexes
    memory_bytes: int = 0
    """Its index may be kept, and counts for the folder."""

    @property
    def symbols(self) -> SymbolIndex | None:
        return self._indexes.of(self)

    @property
    def count(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> Sequence[str]:
        return list(self.table.column_names)

    def slice(self, names: Sequence[str], start: int, stop: int) -> pl.DataFrame:
        return pl.DataFrame(self.table.select(list(names)).slice(start, stop - start))

    def take(self, names: Sequence[str], positions: Positions) -> pl.DataFrame:
        return pl.DataFrame(self.table.select(list(names)).take(pa.array(positions)))


class SpillFolder:
    """The folder that one process spills to. What an earlier one left there is deleted: it is in the log.

    Raises:
        StartRefused: the folder cannot be made or written to, or another process uses it.
    """

    def __init__(self, folder: Path, index_bytes: int) -> None:
        """`index_bytes`: what indexes of its blocks may take in memory, all together."""
        self._folder = folder
        self._indexes = _Indexes(index_bytes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob(f"*{_SUFFIX}"):
                left.unlink()
        except BlockingIOError as error:
            raise StartRefused(
                f"spill folder {folder} is used by another process, must be this one's own"
            ) from error
        except OSError as error:
            raise StartRefused(f"spill folder {folder} cannot be used: {error}") from error

    @property
    def index_bytes(self) -> int:
        """What indexes of its blocks take in memory."""
        return self._indexes.held_bytes

    def spill(self, block: Block) -> Block:
        """The same block, its rows in a file.

        Raises:
            OSError: the disk does not take it; nothing is left there.
        """
        # Their spans stay in memory: a reader that skips the block never touches the file.
        times = block.times
        path = self._folder / f"{uuid4().hex}{_SUFFIX}"
        table = block.rows.slice(block.rows.names, 0, block.rows.count).to_arrow()
        try:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            mapped = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except OSError:
            path.unlink(missing_ok=True)
            raise
        spilled = Block(block.lo, block.hi, Spilled(mapped, path, path.stat().st_size, self._indexes))
        spilled.__dict__.update(times=times)
        return spilled

    def delete(self, block: Block) -> None:
        """Delete a block's file, if it has one."""
        if isinstance(block.rows, Spilled):
            self._indexes.forget(block.rows.path)
            block.rows.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete all that is left and let another process have the folder."""
        for left in self._folder.glob(f"*{_SUFFIX}"):
            left.unlink(missing_ok=True)
        os.close(self._lock)
