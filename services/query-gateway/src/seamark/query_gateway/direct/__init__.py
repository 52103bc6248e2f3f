"""Rows of exactly one Iceberg snapshot, read without an engine between.

Files are immutable, so whatever was once read of one (manifest, footer, columns) is kept by its
path. Pruning compares a question with bounds, of files and of row groups alike; it may only
ever keep too much, and every row read is held against the whole question afterwards.
"""

from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.direct.reader import DirectReader

__all__ = ["DirectReadRefused", "DirectReader"]
