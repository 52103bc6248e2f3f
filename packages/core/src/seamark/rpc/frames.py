"""Rows on a connection: one Arrow IPC stream, cut into frames between its messages.

Each frame has one record batch, behind the dictionaries that are new with it; the first one begins
with the schema. The last one has no rows but the end-of-stream marker, so that a stream which was
cut short is told from one that is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO

import pyarrow as pa

LEAST_BYTES = 256 * 1024
MOST_BYTES = 1024 * 1024
"""Bounds of the rows in one frame: below, calls cost more than rows; above, a reader waits for them."""
_PIECE_BYTES = MOST_BYTES - LEAST_BYTES  # so that one more piece always fits what waits


class FramesInvalid(ValueError):
    """Bytes that are not one whole Arrow IPC stream."""


def encode(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Frames of the rows of `batches`, all with `schema`, in their order.

    Batches are cut and joined to LEAST_BYTES to MOST_BYTES of rows each; the last may have less,
    a single row more. Dictionaries of a column may differ from batch to batch. Nothing is read
    ahead beyond the frame that is given.

    Raises:
        ValueError: a column is a view: a slice of it would be written with the bytes of all.
        pyarrow.ArrowInvalid: a batch has another schema.
    """
    for field in schema:
        if pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type):
            raise ValueError(f"column {field.name} was {field.type}, must be string or binary")
    sink = BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in _resized(batches):
            writer.write_batch(batch)
            yield _taken(sink)
    yield _taken(sink)


def decode(frames: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
    """Record batches of one stream, wherever it is cut; they keep the frames' memory and copy none
    but what spans two frames or is not aligned.

    Bytes are trusted to come from `encode`: lengths are checked, values are not.

    Raises:
        FramesInvalid: the stream is cut short, or something else, or goes on behind its end.
        Whatever `frames` raises.
    """
    source = _Source(frames)
    batches = _batches(source)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            if source.asking:
                raise
            raise FramesInvalid(
                f"frames {'end' if source.over else 'cannot be read'} after {source.bytes_read} bytes, "
                f"must be an Arrow IPC stream: {error}"
            ) from error
        if batch is None:
            break
        yield batch
    if source.over:
        raise FramesInvalid(
            f"frames end after {source.bytes_read} bytes, must end with the end-of-stream marker"
        )
    if source.read(1):
        raise FramesInvalid(
            f"frames go on after {source.bytes_read - 1} bytes, must end with the end-of-stream marker"
        )


def _batches(source: _Source) -> Iterator[pa.RecordBatch]:
    options = pa.ipc.IpcReadOptions(ensure_alignment=pa.ipc.Alignment.DataTypeSpecific)
    for batch in pa.ipc.open_stream(source, options=options):
        batch.validate()
        yield batch


def _taken(sink: BytesIO) -> bytes:
    frame = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return frame


def _resized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    waiting_bytes = 0
    for batch in batches:
        for piece, piece_bytes in _pieces(batch):
            waiting.append(piece)
            waiting_bytes += piece_bytes
            if waiting_bytes >= LEAST_BYTES:
                yield _joined(waiting)
                waiting, waiting_bytes = [], 0
    if waiting:
        yield _joined(waiting)


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Slices of at most _PIECE_BYTES, and their sizes; where rows differ in size, cut until it holds."""
    rows = batch.num_rows
    if not rows:
        return
    size = _row_bytes(batch)
    parts = min(rows, -(-size // _PIECE_BYTES))
    if parts <= 1:
        yield batch, size
        return
    step = -(-rows // parts)
    for start in range(0, rows, step):
        yield from _pieces(batch.slice(start, step))


def _row_bytes(batch: pa.RecordBatch) -> int:
    """Without dictionaries: these do not shrink with a slice, and are sent once."""
    return sum(
        column.indices.nbytes if pa.types.is_dictionary(column.type) else column.nbytes
        for column in batch.columns
    )


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


class _Source:
    """Frames as the file that Arrow reads from."""

    closed = False

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._frames = iter(frames)
        self._rest = memoryview(b"")
        self.bytes_read = 0
        self.over = False
        """More was asked for than there is."""
        self.asking = False
        """Left on where asking for a frame raised: Arrow and a connection may raise the same."""

    def read(self, size: int) -> memoryview | bytes:
        parts: list[memoryview] = []
        missing = size
        while missing > len(self._rest):
            parts.append(self._rest)
            missing -= len(self._rest)
            self.asking = True
            frame = next(self._frames, None)
            self.asking = False
            self._rest = memoryview(frame or b"")
            if frame is None:
                self.over = True
                break
        parts.append(self._rest[:missing])
        self._rest = self._rest[missing:]
        found = parts[0] if len(parts) == 1 else b"".join(parts)
        self.bytes_read += len(found)
        return found
