"""Rows as one Arrow IPC stream that is taken away while it is written."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

PIECE_BYTES = 1024 * 1024
"""Rows of one message at most: a reader waits for a whole one."""


class Sink:
    """A file that is emptied while it is written."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        return

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in slices of about PIECE_BYTES."""
    step = max(1, batch.num_rows * PIECE_BYTES // max(PIECE_BYTES, batch.nbytes))
    for first in range(0, batch.num_rows, step):
        yield batch.slice(first, step)


class ArrowStream:
    """The schema's message, then batches as they come, then the end-of-stream marker."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._sink = Sink()

    def head(self) -> bytes:
        self._writer = pa.ipc.new_stream(self._sink, self._schema)
        return self._sink.taken()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Raises pyarrow.ArrowInvalid: the batch has another schema."""
        self._writer.write_batch(batch.replace_schema_metadata(self._schema.metadata))
        return self._sink.taken()

    def tail(self) -> bytes:
        self._writer.close()
        return self._sink.taken()
