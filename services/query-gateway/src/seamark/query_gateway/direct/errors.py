"""Why the direct reader gives no rows, besides CatalogUnavailable and SnapshotGone."""

from __future__ import annotations

from seamark.lake.errors import LakeError


class DirectReadRefused(LakeError):
    """The snapshot holds what only a whole engine reads, such as delete files."""
