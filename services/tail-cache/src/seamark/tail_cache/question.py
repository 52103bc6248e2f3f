"""From a request for rows to what is asked, checked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import PredicateInvalid
from seamark.market.schema import RecordKind
from seamark.rpc.predicates import from_proto
from seamark.rpc.v1 import tail_pb2
from seamark.tail_cache.reading import Asked, Reader
from seamark.tail_cache.store import Views


class RequestInvalid(ValueError):
    """A request that makes no sense; `field` names the part."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Rows of ranges of one table."""

    kind: RecordKind
    asked: Sequence[Asked]
    reader: Reader
    most_rows: int | None
    accepts_whole: bool
    """The asker takes a small answer in one message."""

    def at(self, views: Views) -> Question:
        """The same question with every open range ended at what is held now."""
        asked = [
            replace(one, next=views[one.where].hi) if one.next is None and one.where in views else one
            for one in self.asked
        ]
        return replace(self, asked=asked)

    def answerable(self, views: Views) -> bool:
        """Whether waiting on would bring nothing more."""
        return not any(
            one.next is not None
            and (view := views.get(one.where)) is not None
            and not view.halted
            and view.hi < one.next
            for one in self.asked
        )


def kind_of(table: str) -> RecordKind:
    """The kind of rows that a table has. Raises RequestInvalid."""
    try:
        return RecordKind(table)
    except ValueError:
        allowed = ", ".join(kind.value for kind in RecordKind)
        raise RequestInvalid("table", f"table was {table[:64]!r}, must be one of {allowed}") from None


def question_of(request: tail_pb2.ReadRangesRequest) -> Question:
    """What a request asks.

    Raises:
        RequestInvalid: it makes no sense.
    """
    kind = kind_of(request.table)
    if request.max_rows < 0:
        raise RequestInvalid("max_rows", f"max_rows was {request.max_rows}, must be 0 or more")
    asked: dict[StreamPartition, Asked] = {}
    for one in request.ranges:
        where = StreamPartition(one.stream_id, one.partition)
        next_ = one.to_offset if one.HasField("to_offset") else None
        if where in asked:
            raise RequestInvalid("ranges", f"partition {where} was named twice, must be named once")
        if one.from_offset < 0 or (next_ is not None and next_ < one.from_offset):
            raise RequestInvalid(
                "ranges",
                f"range of partition {where} was [{one.from_offset}, {next_}), must be 0 <= from <= to",
            )
        asked[where] = Asked(where, one.from_offset, next_)
    nearest = _nearest_of(kind, request) if request.HasField("nearest") else None
    try:
        reader = Reader(kind, list(request.columns), from_proto(kind, request.predicate), nearest)
    except PredicateInvalid as error:
        raise RequestInvalid(error.field, str(error)) from error
    return Question(kind, list(asked.values()), reader, request.max_rows or None, request.accepts_whole)


def _nearest_of(kind: RecordKind, request: tail_pb2.ReadRangesRequest) -> Nearest:
    asked = request.nearest
    if asked.rows < 1:
        raise RequestInvalid("nearest.rows", f"nearest.rows was {asked.rows}, must be 1 or more")
    if not kind.sequenced:
        ordered = ", ".join(kind.value for kind in RecordKind if kind.sequenced)
        raise RequestInvalid(
            "nearest",
            f"nearest was asked of {kind.value}, must be of a table in the order of time: {ordered}",
        )
    return Nearest(asked.rows, asked.latest, asked.after_us if asked.HasField("after_us") else None)
