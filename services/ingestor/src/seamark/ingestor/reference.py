"""Binance's `exchangeInfo` to instruments, and instruments to records of reference data."""

from __future__ import annotations

from typing import Any

import msgspec

from seamark.ingestor.errors import VenueUnavailable
from seamark.ingestor.venue import Instrument
from seamark.market import decimals
from seamark.market.errors import DecimalOutOfRange
from seamark.market.identity import instrument_event_id


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: str | None = None
    stepSize: str | None = None


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    filters: list[_Filter]


class _ExchangeInfo(msgspec.Struct):
    serverTime: int
    symbols: list[msgspec.Raw]


def read_exchange_info(body: bytes) -> tuple[Instrument, ...]:
    """The instruments of a reply whose times are in microseconds.

    Raises:
        VenueUnavailable: the reply does not have the documented form.
    """
    try:
        info = msgspec.json.decode(body, type=_ExchangeInfo)
        return tuple(_instrument(statement, info.serverTime) for statement in info.symbols)
    except (msgspec.DecodeError, UnicodeDecodeError, DecimalOutOfRange) as error:
        raise VenueUnavailable(f"exchangeInfo cannot be read: {error}") from error


def instrument_record(exchange: str, market: str, instrument: Instrument, received_us: int) -> dict[str, Any]:
    """The record of an instrument, in raw form (see `seamark.stream.encode`)."""
    stated: dict[str, Any] = {
        "status": instrument.status,
        "base_currency": instrument.base_currency,
        "currency": instrument.currency,
        "vendor_data": instrument.statement,
    }
    event_id = instrument_event_id(exchange, market, instrument.symbol, instrument.stated_us, stated)
    return stated | {
        "event_id": event_id,
        "exchange": exchange,
        "market": market,
        "symbol": instrument.symbol,
        "timestamp": instrument.stated_us,
        "ingestion_timestamp": received_us,
        "tick_size": None if instrument.tick_size is None else decimals.to_bytes(instrument.tick_size),
        "step_size": None if instrument.step_size is None else decimals.to_bytes(instrument.step_size),
    }


def _instrument(statement: msgspec.Raw, stated_us: int) -> Instrument:
    stated = msgspec.json.decode(statement, type=_Symbol)
    tick = next((f.tickSize for f in stated.filters if f.filterType == "PRICE_FILTER"), None)
    step = next((f.stepSize for f in stated.filters if f.filterType == "LOT_SIZE"), None)
    return Instrument(
        stated.symbol,
        stated.status,
        stated.baseAsset,
        stated.quoteAsset,
        None if tick is None else decimals.parse(tick, "tickSize"),
        None if step is None else decimals.parse(step, "stepSize"),
        stated_us,
        bytes(statement).decode(),
    )
