"""The object store under a table: file systems that outlive a load of the table, and what their errors mean."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from polars.exceptions import PolarsError
from polars_avro import AvroError
from pyarrow.fs import FileSystem
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from seamark.lake.errors import CatalogUnavailable
from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.sources import SnapshotGone

_KEPT = 4
"""File systems of different credentials; a catalog may hand out new ones with a load."""
_NOT_THERE = ("NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "HTTP status 404", "Path does not exist")


class Stores:
    """File systems by credentials: each load of a table brings a FileIO that would connect anew."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], FileSystem] = OrderedDict()
        self._lock = threading.Lock()

    def place_of(self, io: FileIO, location: str) -> tuple[FileSystem, str]:
        """(file system, path in it) of a file.

        Raises:
            DirectReadRefused: the table's store is not one that Arrow reads.
        """
        if not isinstance(io, PyArrowFileIO):
            raise DirectReadRefused(f"file access was {type(io).__name__}, must be Arrow's")
        scheme, netloc, path = io.parse_location(location, io.properties)
        key = (scheme, netloc, tuple(sorted(io.properties.items())))
        with self._lock:
            system = self._kept.get(key)
            if system is None:
                system = self._kept[key] = io.fs_by_scheme(scheme, netloc)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(key)
        return system, path

    def input_file(self, io: FileIO, location: str) -> PyArrowFile:
        """A file as pyiceberg reads it. Raises DirectReadRefused."""
        system, path = self.place_of(io, location)
        return PyArrowFile(location, path, system)


@contextmanager
def reading(location: str) -> Iterator[None]:
    """What goes wrong inside, in the words of the lake.

    Raises:
        SnapshotGone: the file is not there.
        CatalogUnavailable: the store does not answer, or what it gives cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SnapshotGone(f"file {location} is not there any more") from error
    except (OSError, ValueError, pa.ArrowException, AvroError, PolarsError) as error:
        text = " ".join(str(error).split())[:300]
        if isinstance(error, OSError) and any(sign in text for sign in _NOT_THERE):
            raise SnapshotGone(f"file {location} is not there any more") from error
        raise CatalogUnavailable(f"reading {location}: {type(error).__name__}: {text}") from error
