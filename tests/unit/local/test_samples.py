"""The sample questions, and how their answers look."""

from typing import Any

from seamark.local.samples import RECENT, Sample, facts, lines, samples_about, show_samples

WIDTH = 100
TRADE = {
    "symbol": "BTCUSDT",
    "timestamp": "2024-08-08T12:00:59.999999Z",
    "ingestion_timestamp": "2026-03-01T00:00:00.123000Z",
    "side": "BUY",
    "price": "61837.63",
    "quantity": "0.001",
}
HEADER: dict[str, Any] = {
    "exact": True,
    "reason": None,
    "engine": "direct",
    "freshness_ms": 12,
    "tables": {
        "trades": {
            "snapshot": 8483225345148476614,
            "H": {"1.0": 480, "1.1": 20},
            "E": {"1.0": 500, "1.1": 25},
        },
        "quotes": {"snapshot": None, "H": {}, "E": {"2.0": 7}},
    },
}


def by_path() -> dict[str, Sample]:
    return {sample.path: sample for sample in samples_about(TRADE)}


def test_questions_are_about_the_trade_and_its_own_time() -> None:
    samples = by_path()
    assert samples["bars"].target == (
        "bars?symbol=BTCUSDT&interval=1m&start=2024-08-08T11:59:00Z&end=2024-08-08T12:01:00Z"
    )
    assert samples["aggregate"].target == (
        "aggregate?symbol=BTCUSDT&start=2024-08-08T11:59:00Z&end=2024-08-08T12:01:00Z"
    )
    # By the clock of the receiver, which is the join's.
    assert samples["asof"].target == (
        "asof?symbols=BTCUSDT&start=2026-02-28T23:59:50Z&end=2026-03-01T00:00:01Z&limit=2"
    )
    assert samples["watermark/trades"].target == "watermark/trades"
    assert {"instruments", "estimate"} < samples.keys()


def test_requests_fit_the_terminal() -> None:
    assert all(len(f'curl "$API/{sample.target}"') <= WIDTH for sample in samples_about(TRADE))


def test_a_symbol_that_a_url_may_not_hold_is_encoded() -> None:
    assert all("A&B" not in sample.target for sample in samples_about(TRADE | {"symbol": "A&B"}))


def test_rows_stand_below_the_names_of_their_columns_and_above_the_facts() -> None:
    other = TRADE | {
        "side": "SELL",
        "price": "7",
        "quantity": None,
        "timestamp": "2024-08-08T12:00:59.000000Z",
    }
    assert lines(RECENT, {"rows": [TRADE, other, TRADE], "header": HEADER}) == [
        "  timestamp                    symbol   side  price     quantity",
        "  2024-08-08T12:00:59.999999Z  BTCUSDT  BUY   61837.63  0.001",
        "  2024-08-08T12:00:59Z         BTCUSDT  SELL  7         -",
        "  exact, direct, freshness_ms 12; trades S …6614 H 500 E 525; quotes S none H 0 E 7",
    ]


def test_an_answer_without_a_header_is_a_row_itself() -> None:
    estimate = {"rows": 20, "bytes": 4096, "files": 1, "engine": "trino", "cost": 1}
    assert lines(by_path()["estimate"], estimate) == [
        "  rows  bytes  files  engine  cost",
        "  20    4096   1      trino   1",
    ]


def test_a_watermark_is_facts_alone() -> None:
    watermark = {"table": "trades", "freshness_ms": 3, "header": HEADER["tables"]["trades"]}
    assert lines(by_path()["watermark/trades"], watermark) == ["  freshness_ms 3; trades S …6614 H 500 E 525"]


def test_an_answer_that_is_not_exact_says_why() -> None:
    header = HEADER | {"exact": False, "reason": "offsets are missing: " + "x" * 500}
    assert facts({"header": header}).startswith("not exact: offsets are missing: xx")
    assert len(facts({"header": header})) < 2 * WIDTH


def test_a_gateway_that_does_not_answer_is_a_failure() -> None:
    shown: list[str] = []
    [failure] = show_samples("http://127.0.0.1:1", shown.append)
    assert failure.startswith("sample question trades/recent?last=2: ")
    assert shown == ["API=http://127.0.0.1:1/v1"]
