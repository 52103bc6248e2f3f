"""A bounded cache of values that never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Keeps what was used last, up to a total weight. Any thread may ask."""

    def __init__(self, limit: int) -> None:
        """`limit`: greatest total weight, in the unit of `put`'s: bytes, or entries of weight 1."""
        self._limit = limit
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Total weight."""
        return self._held

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep `value`; what was used longest ago gives way. Heavier than the limit: not kept."""
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None:
                self._held -= before[1]
            if weight > self._limit:
                return
            self._entries[key] = (value, weight)
            self._held += weight
            while self._held > self._limit:
                _, (_, gone) = self._entries.popitem(last=False)
                self._held -= gone
