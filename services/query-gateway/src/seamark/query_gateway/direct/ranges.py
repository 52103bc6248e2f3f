"""Parts of a file in memory, given out as if they were the file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Range: TypeAlias = tuple[int, int]
"""First byte, and the one behind the last."""

_HOLE_BYTES = 256 * 1024
"""A hole up to this size is read along: cheaper than another request."""
_REQUEST_BYTES = 32 * 1024 * 1024


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The requests that cover all `ranges`: neighbours become one."""
    requests: list[Range] = []
    for first, behind in sorted(ranges):
        if requests:
            start, end = requests[-1]
            if first - end <= _HOLE_BYTES and max(end, behind) - start <= _REQUEST_BYTES:
                requests[-1] = (start, max(end, behind))
                continue
        requests.append((first, behind))
    return requests


class PartialFile(io.RawIOBase):
    """A readable file of which some ranges are held; whatever else is read comes from `fetch`."""

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], Any], ranges: Iterable[Range]) -> None:
        """`fetch(first, length)` gives a buffer. Each request of `joined(ranges)` is made here."""
        super().__init__()
        self._size_bytes = size_bytes
        self._fetch = fetch
        self._requests = joined(ranges)
        self._starts = [first for first, _ in self._requests]
        self._held = [memoryview(fetch(first, behind - first)) for first, behind in self._requests]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> Any:  # noqa: ANN401 - a memoryview: Arrow takes it without a copy
        behind = self._size_bytes if size < 0 else min(self._at + size, self._size_bytes)
        first, self._at = self._at, behind
        place = bisect_right(self._starts, first) - 1
        if place >= 0 and behind <= self._requests[place][1]:
            start = self._requests[place][0]
            return self._held[place][first - start : behind - start]
        return memoryview(self._fetch(first, behind - first))
