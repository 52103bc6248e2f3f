"""Rows that are not in the lake yet, in memory: [lo, hi) of each partition."""
