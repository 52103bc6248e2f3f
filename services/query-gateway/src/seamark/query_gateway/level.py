"""How degraded the whole is, from nothing to no consumption at all."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """Ascending: what is given up at one is given up at all above it."""

    NORMAL = 0
    SOFT = 1
    GRACEFUL = 2
    AGGRESSIVE = 3
    CIRCUIT_BREAK = 4
