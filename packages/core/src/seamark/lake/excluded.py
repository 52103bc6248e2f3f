"""Where shed and lost ranges are written: in the property and in each summary; where long, in a file.

A summary is kept once per snapshot: what is long would be there sixty times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from seamark.lake.checkpoint import EXCLUDED_FILE, ExcludedRange, excluded_from_text, excluded_to_text
from seamark.lake.errors import CheckpointInvalid, StateMissing
from seamark.lake.states import StateStore

INLINE_BYTES = 8 * 1024


def with_more(text: str, more: Iterable[ExcludedRange], revision: int, uuid: str, store: StateStore) -> str:
    """What property and summary get for the ranges of `text` and `more`, which begin with `revision`:
    the ranges themselves, or the name of a file with them.

    Raises:
        CheckpointInvalid: `text` cannot be read.
        CatalogUnavailable: the file cannot be read or written.
    """
    text = excluded_to_text((*ranges(text, store), *(replace(gone, revision=revision) for gone in more)))
    if len(text) <= INLINE_BYTES:
        return text
    # Named by its content: attempts of one batch, and commits that add nothing, share the file.
    name = f"{uuid}/excluded/{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    store.put(name, text.encode())
    return EXCLUDED_FILE + name


def ranges(text: str | None, store: StateStore) -> tuple[ExcludedRange, ...]:
    """The ranges of a property or summary.

    Raises:
        CheckpointInvalid: they cannot be read.
        CatalogUnavailable: nobody can say.
    """
    if text is None or not text.startswith(EXCLUDED_FILE):
        return excluded_from_text(text)
    try:
        return excluded_from_text(store.get(text.removeprefix(EXCLUDED_FILE)).decode())
    except (StateMissing, UnicodeDecodeError) as error:
        raise CheckpointInvalid(f"excluded ranges: {error}") from error
