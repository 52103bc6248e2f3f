"""exchangeInfo to instruments and their records."""

import json

import pytest

from seamark.ingestor.errors import VenueUnavailable
from seamark.ingestor.reference import instrument_record, read_exchange_info
from seamark.market import decimals
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder

STATED_US = 1_723_161_255_400_123
SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "orderTypes": ["LIMIT"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "stepSize": "0.00001000"},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
    ],
}


def reply(**change):
    return json.dumps({"serverTime": STATED_US, "symbols": [SYMBOL | change]}).encode()


def test_an_instrument_is_what_the_venue_states():
    (instrument,) = read_exchange_info(reply())
    assert (instrument.symbol, instrument.status) == ("BTCUSDT", "TRADING")
    assert (instrument.base_currency, instrument.currency) == ("BTC", "USDT")
    assert (instrument.tick_size, instrument.step_size) == (10**8, 10**5)
    assert instrument.stated_us == STATED_US
    assert json.loads(instrument.statement) == SYMBOL


def test_its_record_keeps_the_contract_and_its_id_repeats():
    (instrument,) = read_exchange_info(reply())
    record = instrument_record("binance", "spot", instrument, STATED_US + 5)
    Encoder(RecordKind.REFERENCE_DATA, 3).encode(record)
    assert record["tick_size"] == decimals.to_bytes(10**8)
    assert record["timestamp"] == STATED_US
    again = instrument_record("binance", "spot", instrument, STATED_US + 99)
    assert again["event_id"] == record["event_id"]
    (halted,) = read_exchange_info(reply(status="HALT"))
    assert instrument_record("binance", "spot", halted, STATED_US)["event_id"] != record["event_id"]


def test_a_symbol_without_filters_has_no_tick_and_no_step():
    (instrument,) = read_exchange_info(reply(filters=[]))
    assert (instrument.tick_size, instrument.step_size) == (None, None)
    Encoder(RecordKind.REFERENCE_DATA, 3).encode(instrument_record("binance", "spot", instrument, 0))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", reply(status=None), reply(filters=[{"filterType": "LOT_SIZE", "stepSize": "x"}])],
)
def test_a_reply_of_another_form_is_refused(body):
    with pytest.raises(VenueUnavailable, match="exchangeInfo cannot be read"):
        read_exchange_info(body)
