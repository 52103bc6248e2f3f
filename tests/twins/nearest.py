"""As little as a source of rows may give where only the first so many are wanted."""

from __future__ import annotations

import polars as pl

from seamark.market.nearest import Nearest


def enough(rows: pl.DataFrame, nearest: Nearest | None) -> pl.DataFrame:
    """Matching rows of all ranges without any that `nearest` allows to leave out."""
    if nearest is None:
        return rows
    time = pl.col("timestamp").to_physical()
    if nearest.after_us is not None:
        rows = rows.filter(time <= nearest.after_us if nearest.latest else time >= nearest.after_us)
    counted = rows if nearest.after_us is None else rows.filter(time != nearest.after_us)
    times = counted.get_column("timestamp").to_physical().sort(descending=nearest.latest)
    if len(times) <= nearest.rows:
        return rows
    last = times[nearest.rows - 1]
    return rows.filter(time >= last if nearest.latest else time <= last)
