"""Messages of MarketDataService: questions read from them, headers written as them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seamark.market.predicate import PredicateInvalid
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.header import AnswerHeader, Estimate, TableHeader
from seamark.query_gateway.question import (
    AsKnownAt,
    AsOfQuestion,
    AtCursor,
    AtSnapshot,
    BarsQuestion,
    Consistency,
    Engine,
    Latest,
    MaxStaleness,
    MinOffsets,
    Question,
    Vector,
    check_symbols,
)
from seamark.rpc import predicates, vectors
from seamark.rpc.v1 import market_data_pb2 as messages
from seamark.rpc.v1 import offsets_pb2, predicate_pb2


@contextmanager
def _invalid_by_name(vector: str = "") -> Iterator[None]:
    try:
        yield
    except PredicateInvalid as error:
        raise Invalid(error.field, str(error)) from error
    except vectors.VectorInvalid as error:
        raise Invalid(vector, str(error)) from error


def kind_of(table: str) -> RecordKind:
    """Raises Invalid: there is no such table."""
    try:
        return RecordKind(table)
    except ValueError:
        names = ", ".join(kind.value for kind in RecordKind)
        raise Invalid("table", f"table was {table[:64]!r}, must be one of {names}") from None


def consistency_of(message: messages.Consistency) -> Consistency:
    """Raises Invalid."""
    match message.WhichOneof("mode"):
        case "min_offsets":
            return MinOffsets(_vector("min_offsets", message.min_offsets))
        case "max_staleness_ms":
            if message.max_staleness_ms < 0:
                raise Invalid(
                    "max_staleness_ms", f"max_staleness_ms was {message.max_staleness_ms}, must be 0 or more"
                )
            return MaxStaleness(message.max_staleness_ms)
        case "at_cursor":
            return AtCursor(message.at_cursor)
        case "as_known_at_us":
            return AsKnownAt(message.as_known_at_us)
        case "snapshot_id":
            return AtSnapshot(message.snapshot_id)
        case _:
            return Latest(_vector("last_end", message.latest.last_end))


def _vector(name: str, message: offsets_pb2.OffsetVector) -> Vector:
    with _invalid_by_name(name):
        return vectors.from_proto(message)


def question_of(message: messages.QueryRequest, most_rows: int) -> Question:
    """The question, for pages of `most_rows` at most. Raises Invalid."""
    kind = kind_of(message.table)
    if message.engine and message.engine not in (engine.value for engine in Engine):
        raise Invalid("engine", f"engine was {message.engine[:64]!r}, must be direct, trino or empty")
    if message.limit < 0:
        raise Invalid("limit", f"limit was {message.limit}, must be 0 (as many as allowed) or more")
    if message.page_cursor and message.HasField("consistency"):
        raise Invalid("consistency", "consistency and page_cursor were given together, must be one of them")
    with _invalid_by_name():
        predicate = predicates.from_proto(kind, message.predicate)
    check_symbols(predicate.symbols)
    return Question(
        kind,
        predicate,
        tuple(message.columns),
        min(message.limit or most_rows, most_rows),
        message.descending,
        consistency_of(message.consistency),
        message.page_cursor,
        Engine(message.engine) if message.engine else None,
    )


def bars_question_of(message: messages.BarsRequest) -> BarsQuestion:
    """Raises Invalid."""
    for name in ("exchange", "market", "symbol"):
        if not getattr(message, name):
            raise Invalid(name, f"{name} was empty, must be given")
    check_symbols((message.symbol,), "symbol")
    return BarsQuestion(
        message.exchange,
        message.market,
        message.symbol,
        message.from_us,
        message.to_us,
        message.interval,
        consistency_of(message.consistency),
    )


def as_of_question_of(message: messages.AsOfJoinRequest) -> AsOfQuestion:
    """Raises Invalid."""
    if not message.symbols:
        raise Invalid("symbols", "symbols were none, must be at least one")
    for name in ("tolerance_us", "limit"):
        if getattr(message, name) < 0:
            raise Invalid(name, f"{name} was {getattr(message, name)}, must be 0 or more")
    with _invalid_by_name():
        # What is not said about the clock: receive, which both sides have.
        clock = predicates.clock_from_proto(message.clock or predicate_pb2.CLOCK_RECEIVE)
    return AsOfQuestion(
        check_symbols(message.symbols),
        message.from_us,
        message.to_us,
        clock,
        message.tolerance_us,
        message.allow_receive_time,
        message.limit,
        consistency_of(message.consistency),
    )


def estimate_message(estimate: Estimate) -> messages.CostEstimate:
    return messages.CostEstimate(
        rows=estimate.rows,
        bytes=estimate.bytes,
        files=estimate.files,
        engine=estimate.engine.value,
        cost=estimate.cost,
    )


def header_message(header: AnswerHeader) -> messages.AnswerHeader:
    return messages.AnswerHeader(
        exact=header.exact,
        reason=header.reason,
        tables=[_table_message(table) for table in header.tables],
        freshness_ms=header.freshness_ms,
        gaps=[
            messages.Gap(
                gap_id=gap.gap_id,
                exchange=gap.exchange,
                market=gap.market,
                symbol=gap.symbol,
                first_sequence=gap.first_sequence,
                last_sequence=gap.last_sequence,
                state=gap.state,
            )
            for gap in header.gaps or ()
        ],
        gaps_unknown=header.gaps is None,
        level=header.level,
        clock=predicates.clock_to_proto(header.clock),
        engine=header.engine.value,
        estimate=estimate_message(header.estimate),
        cursor=header.cursor,
        query_id=header.query_id,
    )


def _table_message(table: TableHeader) -> messages.TableHeader:
    excluded = [
        vectors.OffsetRange(gone.where, gone.first, gone.next, str(gone.cause)) for gone in table.excluded
    ]
    missing = [vectors.OffsetRange(gone.where, gone.first, gone.next, gone.reason) for gone in table.missing]
    return messages.TableHeader(
        table=table.table,
        snapshot_id=table.snapshot_id or 0,
        pin_age_ms=table.pin_age_ms,
        revision=table.revision,
        watermark=vectors.to_proto(table.watermark),
        end=vectors.to_proto(table.end),
        lo=vectors.to_proto(table.lo),
        excluded=[vectors.range_to_proto(one) for one in excluded],
        missing=[vectors.range_to_proto(one) for one in missing],
        committed_age_ms=table.committed_age_ms,
    )
