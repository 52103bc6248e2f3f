"""Each trade with the quote that stood when it happened. One clock for both sides."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from seamark.market.order import total_order
from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.answer import Answer, whole_answer
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.gaps import GapLedger
from seamark.query_gateway.opening import NamedGaps, Opened, Opening
from seamark.query_gateway.ordered_rows import collect, needed_columns
from seamark.query_gateway.question import MOST_QUOTE_AGE_US, AsOfQuestion, Latest, MinOffsets, hash_of
from seamark.query_gateway.running import Call
from seamark.query_gateway.want import Want

_KEY = ("exchange", "market", "symbol")
_TRADE = (
    "exchange",
    "market",
    "symbol",
    "source_sequence",
    "timestamp",
    "ingestion_timestamp",
    "price",
    "quantity",
    "side",
)
_QUOTE = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
_PLACE = "__place"
LOOKBACK_US = (60_000_000, 3_600_000_000, MOST_QUOTE_AGE_US)
"""How far before the first trade quotes are looked for, step by step, while some trade has none."""

AS_OF_SCHEMA = pa.schema(
    [
        *(row_schema(RecordKind.TRADES).field(name) for name in _TRADE),
        *(row_schema(RecordKind.QUOTES).field(name).with_nullable(True) for name in _QUOTE),
        pa.field("quote_sequence", pa.int64()),
        pa.field("quote_time", pa.timestamp("us", "UTC")),
    ]
)
"""Columns of an answer. Those of the quote are null where no quote stood."""


async def answer_as_of(
    opening: Opening, question: AsOfQuestion, call: Call, ledger: GapLedger | None = None
) -> Answer:
    """`ledger`: None where nobody keeps gaps. Raises Invalid: the clock is the venue's, but quotes carry receive time in its column."""
    named = hash_of(
        "as_of",
        question.symbols,
        question.from_us,
        question.to_us,
        question.clock.value,
        question.tolerance_us,
        question.limit,
    )
    clock = question.clock
    trades_predicate = Predicate(question.symbols, clock, question.from_us, question.to_us)
    trade_columns = needed_columns(RecordKind.TRADES, _TRADE)
    want = opening.want(question.consistency, "trades", named)
    trades, found = await opening.read(
        RecordKind.TRADES,
        _known(trades_predicate, want),
        trade_columns,
        want,
        call,
        collect,
        limit=question.limit,
    )
    rows = pl.DataFrame(schema=dict.fromkeys(trade_columns, pl.Null)) if found is None else found
    if question.limit:
        rows = rows.head(question.limit)
    # Offsets that a caller has seen or written are those of trades.
    of_trades = isinstance(question.consistency, Latest | MinOffsets)
    want = opening.want(Latest() if of_trades else question.consistency, "quotes", named)
    quotes, joined = await _with_quotes(opening, question, rows, want, call)
    gaps = NamedGaps()
    if ledger is not None:
        gaps = await ledger.over(question.consistency, trades_predicate, call)
    header = opening.header((trades, quotes), named, clock, call, gaps)
    return whole_answer(header, AS_OF_SCHEMA, joined)


async def _with_quotes(
    opening: Opening, question: AsOfQuestion, trades: pl.DataFrame, want: Want, call: Call
) -> tuple[Opened, pl.DataFrame | None]:
    """The quotes' table as opened last, and the join; E is that of the first opening.

    Quotes are looked for further back only of symbols of which some trade has none yet.

    Raises:
        TooCostly: that would be more quotes than a join may read.
    """
    clock = question.clock.value
    columns = needed_columns(RecordKind.QUOTES, (*_KEY, *_QUOTE, clock, "timestamp_source"))
    steps = (question.tolerance_us,) if question.tolerance_us else LOOKBACK_US
    symbols, waiting = question.symbols, trades.with_row_index(_PLACE)
    done: list[pl.DataFrame] = []
    for lookback_us in steps:
        from_us = max(0, question.from_us - lookback_us)
        predicate = _known(Predicate(symbols, question.clock, from_us, question.to_us), want)
        await opening.check_join(RecordKind.QUOTES, predicate, columns)
        opened, quotes = await opening.read(RecordKind.QUOTES, predicate, columns, want, call, collect)
        if want.end is None:
            want = Want(end=opened.table.end, known_at_us=want.known_at_us)
        joined = _joined(question, waiting, quotes)
        if joined is None:
            break
        lacking = joined["quote_time"].is_null()
        if lookback_us == steps[-1] or not lacking.any():
            done.append(joined)
            break
        done.append(joined.filter(~lacking))
        waiting = waiting.join(joined.filter(lacking).select(_PLACE), on=_PLACE, how="semi")
        symbols = tuple(sorted(waiting["symbol"].cast(pl.String).unique()))
    return opened, pl.concat(done, how="diagonal_relaxed").sort(_PLACE).drop(_PLACE) if done else None


def _known(predicate: Predicate, want: Want) -> Predicate:
    if want.known_at_us is None:
        return predicate
    return Predicate(
        predicate.symbols,
        predicate.clock,
        predicate.from_us,
        predicate.to_us,
        predicate.filters,
        want.known_at_us,
    )


def _joined(question: AsOfQuestion, trades: pl.DataFrame, quotes: pl.DataFrame | None) -> pl.DataFrame | None:
    """Trades in their order, each with the last quote at or before it: of equal times the last in the order."""
    if not len(trades):
        return None
    clock = question.clock.value
    left = trades.with_row_index("__row").with_columns(pl.col(name).cast(pl.String) for name in _KEY)
    if quotes is None or not len(quotes):
        empty = [pl.lit(None, pl.Decimal(28, 10)).alias(name) for name in _QUOTE]
        return trades.with_columns(
            *empty,
            quote_sequence=pl.lit(None, pl.Int64),
            quote_time=pl.lit(None, pl.Datetime("us", "UTC")),
        )
    if (
        question.clock is Clock.EVENT
        and not question.allow_receive_time
        and (quotes["timestamp_source"].cast(pl.String) == "RECEIVE").any()
    ):
        raise Invalid(
            "clock",
            "clock was event, but quotes of this venue carry receive time: ask by receive, or allow_receive_time",
        )
    right = (
        quotes.sort(
            [clock, *(name for name in total_order(RecordKind.QUOTES) if name != clock)], nulls_last=True
        )
        .select(
            *(pl.col(name).cast(pl.String) for name in _KEY),
            pl.col(clock),
            pl.col(clock).alias("quote_time"),
            pl.col("source_sequence").alias("quote_sequence"),
            *_QUOTE,
        )
        .unique([*_KEY, clock], keep="last", maintain_order=True)
    )
    tolerance = f"{question.tolerance_us or MOST_QUOTE_AGE_US}us"
    return (
        left.sort(clock, maintain_order=True)
        .join_asof(
            right, on=clock, by=list(_KEY), strategy="backward", tolerance=tolerance, check_sortedness=False
        )
        .sort("__row")
    )
