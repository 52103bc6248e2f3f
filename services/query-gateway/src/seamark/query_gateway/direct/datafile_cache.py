"""Footers and bytes of data files, kept by path: a file never changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem
from pyiceberg.table import Table

from seamark.market.schema import RecordKind
from seamark.query_gateway.direct.footers import Footer, footer_of
from seamark.query_gateway.direct.ranges import PartialFile, Range
from seamark.query_gateway.direct.store import Stores, reading
from seamark.query_gateway.lru import Lru

_TAIL_BYTES = 128 * 1024
"""Read at once from a file's end: more than the footer of an ordinary file."""
_MAGIC_BYTES = 8
"""Behind the footer: its length in four bytes, and PAR1."""
_MOST_OPEN = 512
_PARSED_TO_STORED = 4
"""Bytes of a footer in memory to its bytes in the file; about."""


@dataclass(frozen=True, slots=True, eq=False)
class _Handle:
    """An open file. Reading at a place needs no lock."""

    system: FileSystem
    file: pa.NativeFile


class DataFiles:
    """Data files of any table."""

    def __init__(self, stores: Stores, footer_bytes: int, file_bytes: int) -> None:
        """Bounds of what is kept: of footers, and of whole files."""
        self._stores = stores
        self._footers: Lru[str, Footer] = Lru(footer_bytes)
        self._handles: Lru[str, _Handle] = Lru(_MOST_OPEN)
        self._whole: Lru[str, bytes] = Lru(file_bytes)

    def held_footer(self, path: str) -> Footer | None:
        """The footer of a file, if it is kept."""
        return self._footers.get(path)

    def footer(self, kind: RecordKind, table: Table, path: str, size_bytes: int) -> Footer:
        """The footer of a file whose size is known.

        Raises:
            SnapshotGone: the file is not there any more.
            CatalogUnavailable: the store does not answer, or the file cannot be read.
            DirectReadRefused: its columns cannot be told.
        """
        footer = self._footers.get(path)
        if footer is None:
            with reading(path):
                metadata = pq.read_metadata(pa.BufferReader(self._tail(table, path, size_bytes)))
            footer = footer_of(kind, table.schema(), path, size_bytes, metadata)
            self._footers.put(path, footer, _PARSED_TO_STORED * metadata.serialized_size)
        return footer

    def source(self, table: Table, footer: Footer, ranges: Iterable[Range]) -> Any:  # noqa: ANN401
        """What Arrow reads `ranges` of a file from.

        Raises:
            SnapshotGone, CatalogUnavailable
        """
        whole = self._whole.get(footer.path)
        if whole is not None:
            return pa.BufferReader(whole)

        def fetch(first: int, length: int) -> bytes:
            return self._read(table, footer.path, first, length)

        return PartialFile(footer.size_bytes, fetch, ranges)

    def hold(self, table: Table, path: str, size_bytes: int) -> None:
        """Fetch a file as a whole, unless it is held.

        Raises:
            SnapshotGone, CatalogUnavailable
        """
        if self._whole.get(path) is None:
            self._whole.put(path, self._read(table, path, 0, size_bytes), size_bytes)

    def _tail(self, table: Table, path: str, size_bytes: int) -> bytes:
        whole = self._whole.get(path)
        if whole is not None:
            return whole
        length = min(size_bytes, _TAIL_BYTES)
        tail = self._read(table, path, size_bytes - length, length)
        needed = int.from_bytes(tail[-_MAGIC_BYTES:-4], "little") + _MAGIC_BYTES
        if length < needed <= size_bytes:
            tail = self._read(table, path, size_bytes - needed, needed)
        return tail

    def _read(self, table: Table, path: str, first: int, length: int) -> bytes:
        system, place = self._stores.place_of(table.io, path)
        with reading(path):
            handle = self._handles.get(path)
            if handle is None or handle.system is not system:
                handle = _Handle(system, system.open_input_file(place))
                self._handles.put(path, handle, 1)
            data: bytes = handle.file.read_at(length, first)
            if len(data) != length:
                raise ValueError(f"{len(data)} bytes at {first} were given, must be {length}")
            return data
