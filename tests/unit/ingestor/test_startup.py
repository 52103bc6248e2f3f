"""A leg that would route otherwise than agreed does not start."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from seamark.ingestor.binance import BinanceSpot
from seamark.ingestor.errors import RoutingMismatch, SettingRefused
from seamark.ingestor.settings import LegSettings
from seamark.ingestor.startup import load_tiers, verify_routing
from seamark.market.routing import Routing, RoutingMode
from seamark.simulator.control import STREAMS_PER_CONNECTION

OWN = Routing("market.crypto.trades.binance", RoutingMode.TIERED, 4, {"BTCUSDT": 1})


def test_the_same_routing_is_agreed_whatever_its_spelling():
    verify_routing(OWN, OWN.to_json().encode())
    verify_routing(OWN, json.dumps(json.loads(OWN.to_json()), indent=1).encode())


def test_a_routing_that_is_not_published_is_refused_with_what_to_do():
    with pytest.raises(RoutingMismatch, match="is not published on seamark.control, must be there"):
        verify_routing(OWN, None)


@pytest.mark.parametrize(
    "other",
    [
        Routing(OWN.topic, RoutingMode.TIERED, 8, OWN.tiers),
        Routing(OWN.topic, RoutingMode.TIERED, 4, {"BTCUSDT": 2}),
        Routing(OWN.topic, RoutingMode.KEYED, 4),
        Routing("another", RoutingMode.TIERED, 4, OWN.tiers),
    ],
)
def test_another_routing_is_refused_with_both_named(other):
    with pytest.raises(RoutingMismatch, match=f"was {OWN.hash[:12]}.* must be {other.hash[:12]}"):
        verify_routing(OWN, other.to_json().encode())


def test_a_published_routing_that_cannot_be_read_is_refused():
    with pytest.raises(RoutingMismatch, match="cannot be read"):
        verify_routing(OWN, b"{}")


def test_tiers_come_from_the_file_if_one_is_named(tmp_path):
    file = tmp_path / "tiers.json"
    file.write_text('{"1": ["XUSDT"]}')
    assert load_tiers("crypto", file) == {"XUSDT": 1}
    assert load_tiers("crypto", None)["BTCUSDT"] == 1
    with pytest.raises(SettingRefused, match="SEAMARK_TIERS_FILE"):
        load_tiers("crypto", tmp_path / "absent.json")
    with pytest.raises(SettingRefused, match="SEAMARK_TIERS_FILE was unset"):
        load_tiers("equity", None)


@pytest.mark.parametrize(
    "symbols", ["btcusdt", "BTCUSDT,BTCUSDT", "BTC/USDT", ",", ",".join(f"S{n}" for n in range(342))]
)
def test_symbols_that_cannot_be_subscribed_to_are_refused(symbols, monkeypatch, capsys):
    monkeypatch.setenv("SEAMARK_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("SEAMARK_SYMBOLS", symbols)
    with pytest.raises(SystemExit):
        LegSettings.load()
    assert "SEAMARK_SYMBOLS" in capsys.readouterr().err


def test_the_streams_of_all_symbols_that_a_leg_can_have_fit_into_a_connection(monkeypatch):
    monkeypatch.setenv("SEAMARK_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("SEAMARK_SYMBOLS", ",".join(f"S{n}" for n in range(341)))
    settings = LegSettings.load()

    async def address() -> str:
        async with aiohttp.ClientSession() as http:
            return BinanceSpot("ws://venue", "http://venue", settings.symbols, http).stream_url()

    url = asyncio.run(address())
    names = parse_qs(urlsplit(url).query)["streams"][0].split("/")
    assert len(names) == len(set(names)) == 3 * 341 <= STREAMS_PER_CONNECTION
    assert names[:3] == ["s0@trade", "s0@bookTicker", "s0@kline_1m"]
