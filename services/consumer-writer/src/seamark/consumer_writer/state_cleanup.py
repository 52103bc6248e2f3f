"""Deletes state files an hour after nothing names them any more."""

from __future__ import annotations

from seamark.lake.states import StateStore, named_states
from seamark.lake.view import LakeTable


class StateCleanup:
    """Remembers since when each file is unnamed. A restart begins the hour anew, which is safe."""

    def __init__(self, table: LakeTable, store: StateStore, retention_seconds: float) -> None:
        self._table = table
        self._store = store
        self._retention_seconds = retention_seconds
        self._unnamed_since: dict[str, float] = {}

    def sweep(self, now_seconds: float) -> int:
        """Delete what has been unnamed long enough by a monotonic clock; how many files went.

        Files are listed before the table is loaded: one that an attempt writes in between is
        either not listed, or named by the commit that the load shows, or younger than the hour.

        Raises:
            CatalogUnavailable: listing, loading or deleting failed; sweep again later.
        """
        view = self._table.load()
        files = self._store.names(view.uuid)
        named = named_states(self._table.load())
        unnamed = [name for name in files if name not in named]
        self._unnamed_since = {name: self._unnamed_since.get(name, now_seconds) for name in unnamed}
        expired = [
            name
            for name, since in self._unnamed_since.items()
            if now_seconds - since >= self._retention_seconds
        ]
        for name in expired:
            self._store.delete(name)
            del self._unnamed_since[name]
        return len(expired)
