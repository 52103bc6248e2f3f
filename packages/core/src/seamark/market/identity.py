"""Names of records, computed at the edges and never sent: the same record has the same name anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def trade_id(exchange: str, source_sequence: int | None, native_id: str | None) -> str:
    """`BINANCE-3735683259`: the venue and its own id, unique within market, feed, symbol and epoch.

    Raises:
        ValueError: the record has neither id.
    """
    return f"{exchange.upper()}-{_venue_id(source_sequence, native_id)}"


def quote_id(exchange: str, source_sequence: int | None, native_id: str | None) -> str:
    """`BINANCE-400900217`: the venue and its update id. Raises ValueError: the record has neither id."""
    return trade_id(exchange, source_sequence, native_id)


def message_id(
    exchange: str,
    market: str,
    feed: str,
    symbol: str,
    id_epoch: int,
    source_sequence: int | None,
    native_id: str | None,
) -> str:
    """`binance:spot:trade:BTCUSDT:0:3735683259`: unique over everything, for ever.

    Raises:
        ValueError: the record has neither id.
    """
    return f"{exchange}:{market}:{feed}:{symbol}:{id_epoch}:{_venue_id(source_sequence, native_id)}"


def session_event_id(exchange: str, market: str, shard: int, session_id: str, kind: str) -> str:
    """Event id of SESSION_OPENED and SESSION_CLOSED: one of each a session."""
    return f"{exchange}:{market}:{shard}:{session_id}:{kind}"


def progress_event_id(exchange: str, market: str, shard: int, session_id: str, number: int) -> str:
    """Event id of the `number`th PROGRESS of a session."""
    return f"{exchange}:{market}:{shard}:{session_id}:PROGRESS:{number}"


def interval_event_id(exchange: str, market: str, feed: str, symbol: str, start_us: int, end_us: int) -> str:
    """Event id of INTERVAL_CLOSED, `binance:spot:trade:BTCUSDT:INTERVAL_CLOSED:<start>:<end>` in microseconds: the
    same from every leg."""
    return f"{exchange}:{market}:{feed}:{symbol}:INTERVAL_CLOSED:{start_us}:{end_us}"


def instrument_event_id(
    exchange: str, market: str, symbol: str, timestamp_us: int, content: Mapping[str, object]
) -> str:
    """Event id of a statement about an instrument: its day (UTC) and a hash of what is stated.

    `content` is what the venue said: values are text, numbers or None. The same statement
    made twice on one day has one id.
    """
    day = (_EPOCH + timedelta(microseconds=timestamp_us)).date().isoformat()
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    return f"{exchange}:{market}:{symbol}:{day}:{digest}"


def _venue_id(source_sequence: int | None, native_id: str | None) -> int | str:
    if source_sequence is not None:
        return source_sequence
    if native_id is None:
        raise ValueError("source_sequence and native_id were both None, one of them must be given")
    return native_id
