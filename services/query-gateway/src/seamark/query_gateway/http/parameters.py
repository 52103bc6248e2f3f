"""Parameters of requests: what may be written in a URL or a JSON body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from seamark.market.predicate import MAX_FILTERS, MAX_VALUES
from seamark.query_gateway.cursor import MAX_BYTES
from seamark.query_gateway.http.instants import Instant
from seamark.query_gateway.question import SYMBOL_PATTERN

_MOST = 2**63 - 1


def _split(value: object) -> object:
    """`a,b` and repeated parameters are the same in a URL."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        return [part for one in value for part in (one.split(",") if isinstance(one, str) else [one])]
    return value


Symbol = Annotated[str, StringConstraints(pattern=SYMBOL_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")]
Text = Annotated[str, StringConstraints(max_length=MAX_BYTES)]
Offset = Annotated[int, Field(ge=0, le=_MOST)]
PartitionName = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")]
VectorText = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}\.[0-9]{1,9}:[0-9]{1,18})*$"),
]
FilterText = Annotated[
    str, StringConstraints(pattern=r"^[a-z_]{1,64}:(eq|ne|lt|le|gt|ge|in):[^\x00]*$", max_length=MAX_BYTES)
]
FormatName = Literal["json", "ndjson", "csv", "parquet", "arrow"]
ClockName = Literal["event", "receive"]
TableName = Literal["trades", "quotes", "reference_data", "feed_events"]


class Asking(BaseModel):
    """What every question may say."""

    model_config = ConfigDict(extra="forbid")

    format: FormatName | None = Field(None, description="Of the answer; without it Accept decides.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=3600, description="How long to wait for the answer to begin, and for each part of it."
    )
    min_offsets: VectorText | None = Field(
        None, description="Read your writes: at least these offsets.", examples=["1.0:500,1.1:700"]
    )
    max_staleness_ms: int | None = Field(None, ge=0, le=_MOST, description="At most this old, or 412.")
    at: Text | None = Field(
        None, description="`Seamark-Cursor` of an earlier answer: exactly its rows again."
    )
    as_known_at: Instant | None = Field(
        None, description="What had been appended until then (at least 5 s ago), and nothing later."
    )
    snapshot: int | None = Field(None, ge=0, le=_MOST, description="History of one snapshot alone.")
    last_end: VectorText | None = Field(
        None, description="E of your last answer: time does not run backwards.", examples=["1.0:500,1.1:700"]
    )


class RowsQuery(Asking):
    """A question for rows."""

    symbols: Annotated[list[Symbol], BeforeValidator(_split)] = Field(
        [], max_length=MAX_VALUES, description="None: all.", examples=[["BTCUSDT"]]
    )
    fields: Annotated[list[Name], BeforeValidator(_split)] = Field(
        [],
        max_length=100,
        description="Columns, in this order; none: all.",
        examples=[["timestamp", "price"]],
    )
    filters: list[FilterText] = Field(
        [],
        max_length=MAX_FILTERS,
        description="`column:operator:value`, all of which hold; operators eq ne lt le gt ge in (`side:in:BUY,SELL`).",
        examples=[["price:ge:61837.63"]],
    )
    start: Instant | None = Field(None, description="Inclusive.")
    end: Instant | None = Field(None, description="Exclusive.")
    clock: ClockName = Field("event", description="Which time start and end mean: the venue's, or ours.")
    order: Literal["asc", "desc"] = Field("asc", description="By the total order.")
    limit: int | None = Field(None, ge=1, le=_MOST, description="Rows of a page.")
    page_cursor: Text | None = Field(
        None, description="`next_cursor` of the page before; all other parameters as they were."
    )
    engine: Literal["direct", "trino"] | None = Field(None, description="Who reads history; else by cost.")


class FilterBody(BaseModel):
    """A condition on a column."""

    model_config = ConfigDict(extra="forbid", strict=True)

    column: Name
    operator: Literal["eq", "ne", "lt", "le", "gt", "ge", "in"]
    values: list[Text] = Field(min_length=1, max_length=MAX_VALUES, examples=[["61837.63"]])


class RowsBody(RowsQuery):
    """A question for rows in JSON: lists are lists, vectors are objects as in headers of answers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    symbols: list[Symbol] = Field([], max_length=MAX_VALUES, description="None: all.", examples=[["BTCUSDT"]])
    fields: list[Name] = Field([], max_length=100, description="Columns, in this order; none: all.")
    filters: list[FilterBody] = Field(  # type: ignore[assignment]
        [], max_length=MAX_FILTERS, description="All of which hold."
    )
    min_offsets: dict[PartitionName, Offset] | None = Field(  # type: ignore[assignment]
        None, description="Read your writes: at least these offsets.", examples=[{"1.0": 500}]
    )
    last_end: dict[PartitionName, Offset] | None = Field(  # type: ignore[assignment]
        None, description="E of your last answer: time does not run backwards.", examples=[{"1.0": 500}]
    )


class RecentQuery(Asking):
    """The newest rows."""

    symbols: Annotated[list[Symbol], BeforeValidator(_split)] = Field(
        [], max_length=MAX_VALUES, description="None: all.", examples=[["BTCUSDT"]]
    )
    fields: Annotated[list[Name], BeforeValidator(_split)] = Field(
        [], max_length=100, description="Columns, in this order; none: all."
    )
    seconds: float | None = Field(None, gt=0, le=86_400, description="Not older than that, by `clock`.")
    last: int = Field(100, ge=1, le=_MOST, description="So many at most, newest first.")
    clock: ClockName = Field("event", description="Which time `seconds` means.")


class RangeQuery(Asking):
    """One symbol over a range of the venue's time."""

    exchange: Name = Field("binance", description="The venue.")
    market: Name = Field("spot", description="Part of the venue.")
    symbol: Symbol = Field(examples=["BTCUSDT"])
    start: Instant = Field(description="Inclusive.")
    end: Instant = Field(description="Exclusive.")


class BarsQuery(RangeQuery):
    """A question for bars."""

    interval: Literal["1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d"] = Field(
        description="Aligned to multiples since 1970.", examples=["1m"]
    )


class AggregateQuery(RangeQuery):
    """A question for one row over the whole range."""

    functions: Annotated[list[Literal["ohlcv", "vwap", "count"]], BeforeValidator(_split)] = Field(
        ["ohlcv", "vwap", "count"], min_length=1, max_length=3, examples=[["vwap"]]
    )


class AsOfQuery(Asking):
    """A question for trades with their quotes."""

    symbols: Annotated[list[Symbol], BeforeValidator(_split)] = Field(
        min_length=1, max_length=MAX_VALUES, examples=[["BTCUSDT"]]
    )
    start: Instant = Field(description="Inclusive.")
    end: Instant = Field(description="Exclusive.")
    clock: ClockName = Field("receive", description="One clock for trades and quotes.")
    tolerance_us: int = Field(
        0,
        ge=0,
        le=86_400_000_000,
        description="A quote older than this does not count; 0: any age within a day.",
    )
    allow_receive_time: bool = Field(
        False, description="Compare by event although quotes carry receive time there."
    )
    limit: int | None = Field(None, ge=1, le=_MOST, description="Trades.")


class InstrumentsQuery(Asking):
    """A question for the current state of instruments."""

    symbols: Annotated[list[Symbol], BeforeValidator(_split)] = Field(
        [], max_length=MAX_VALUES, description="None: all."
    )


class EstimateQuery(RowsQuery):
    """What a question for rows would cost."""

    table: TableName = Field("trades", description="Which rows.")


class EstimateBody(RowsBody):
    """What a question for rows would cost, in JSON."""

    table: TableName = Field("trades", description="Which rows.")
