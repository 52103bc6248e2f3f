"""Examples of the documentation, and what columns mean whose names do not say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXAMPLE_ROWS: Mapping[str, Mapping[str, object]] = {
    "trades": {"timestamp": "2024-08-08T12:00:00.123000Z", "symbol": "BTCUSDT", "price": "61837.63", "quantity": "0.001"},
    "quotes": {"timestamp": "2024-08-08T12:00:00.123000Z", "symbol": "BTCUSDT", "bid_price": "61837.62", "ask_price": "61837.63"},
    "reference_data": {"symbol": "BTCUSDT", "status": "TRADING", "tick_size": "0.01", "step_size": "0.00001"},
    "feed_events": {"kind": "GAP_OPEN", "symbol": "BTCUSDT", "first_sequence": 17, "last_sequence": 19},
    "bars": {
        "start": "2024-08-08T12:00:00.000000Z", "open": "61837.63", "high": "61840", "low": "61830.1", "close": "61835",
        "volume": "12.5", "notional": "772937.5", "vwap": "61835", "trades": 431, "state": "final", "complete": True,
    },
    "aggregate": {"start": "2024-08-08T12:00:00.000000Z", "end": "2024-08-08T13:00:00.000000Z", "vwap": "61835", "trades": 431},
    "as_of": {"symbol": "BTCUSDT", "price": "61837.63", "quantity": "0.001", "bid_price": "61837.62", "ask_price": "61837.63"},
    "symbols": {"exchange": "binance", "market": "spot", "symbol": "BTCUSDT", "status": "TRADING"},
}  # fmt: skip
MEANINGS: Mapping[str, Mapping[str, str]] = {
    "bars": {
        "state": "provisional; final: all that the legs received of it is here; revised: rows came behind that.",
        "complete": "Whether its trades are those that the venue's own closed klines of all its minutes count; null: "
        "a kline is not known, or the range or a missing range cuts a minute.",
    }
}
EXAMPLE_HEADER: dict[str, Any] = {
    "exact": True,
    "reason": None,
    "tables": {
        "trades": {
            "snapshot": 4711, "pin_age_ms": 312, "revision": 0, "H": {"1.0": 480}, "E": {"1.0": 500}, "lo": {"1.0": 400},
            "excluded": [], "missing": [], "committed_age_ms": 21000,
        }
    },
    "freshness_ms": 8,
    "gaps": [],
    "level": "NORMAL",
    "clock": "event",
    "engine": "direct",
    "estimate": {"rows": 20, "bytes": 4096, "files": 1, "cost": 1},
    "cursor": "c2lnbmVk",
    "query_id": "0f8c1f6e5f7e4c62a4b5d3d8a7e1c9b0",
}  # fmt: skip

EXAMPLE_ERROR = {
    "code": "INVALID",
    "message": "start was 5, must be before end, which was 3 (microseconds)",
    "field": "start",
    "correlation_id": "8b6c0d4f",
}
