"""What is asked while the demo runs, and what is made of the answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.local.asking import Asked, Asking, question
from seamark.market.schema import RecordKind
from seamark.query_gateway.header import Missing
from twins.gateway import MemoryGateway
from unit.query_gateway.api.market_rows import rows
from unit.query_gateway.api.serving import served, until

NOW_US = 1_723_118_400_000_000
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def header(engine: str, h: int, e: int, files: int = 1) -> dict[str, Any]:
    return {
        "engine": engine,
        "estimate": {"files": files},
        "tables": {"trades": {"H": {"1.0": h}, "E": {"1.0": e}}},
    }


def asked(*headers: dict[str, Any]) -> Asked:
    done = Asked()
    for each in headers:
        done.note("trades", each, 10.0)
    return done


@pytest.mark.parametrize("engines", [(), ("direct", "trino")])
def test_every_question_comes_up_for_every_engine(engines: tuple[str, ...]) -> None:
    found = [question(number, SYMBOLS, engines, NOW_US) for number in range(24)]
    kinds = {(table, asked.get("symbols"), "start" in asked, asked.get("engine")) for table, asked in found}
    assert kinds == {
        (table, symbol, windowed, engine)
        for table in ("trades", "quotes")
        for symbol, windowed in ((None, False), (None, True), *((symbol, False) for symbol in SYMBOLS))
        for engine in (engines or (None,))
    }


def test_engines_take_turns_with_the_same_question() -> None:
    for number in range(0, 24, 2):
        (table, by_one), (same, by_other) = (
            question(at, SYMBOLS, ("direct", "trino"), NOW_US) for at in (number, number + 1)
        )
        assert (by_one.pop("engine"), by_other.pop("engine")) == ("direct", "trino")
        assert (table, by_one) == (same, by_other)


def test_no_symbol_is_named_where_none_is_known() -> None:
    assert not any("symbols" in question(number, [], (), NOW_US)[1] for number in range(12))


def test_the_seam_is_crossed_where_a_partition_has_both_sides() -> None:
    assert asked(header("direct", 0, 5), header("direct", 5, 5)).across == 0
    assert asked(header("direct", 4, 5)).across == 1


def test_trino_counts_only_where_it_had_files_to_read_and_the_seam_was_crossed() -> None:
    done = asked(
        header("trino", 5, 5), header("trino", 4, 5, files=0), header("direct", 4, 5), header("trino", 3, 5)
    )
    assert (done.answers, done.across, done.by_trino) == (4, 3, 1)
    assert "3 of them from lake and stream together (Trino read the history of 1)" in done.summary(trino=True)
    assert "Trino" not in done.summary(trino=False)


def test_the_header_shown_is_one_of_trino_where_there_is_one() -> None:
    assert asked(header("trino", 3, 5), header("direct", 4, 5)).sample == header("trino", 3, 5)
    assert asked(header("direct", 3, 5), header("direct", 4, 5)).sample == header("direct", 4, 5)


def test_trino_that_answered_nothing_is_off_where_it_runs() -> None:
    done = asked(header("direct", 4, 5))
    assert done.problems(trino=False) == []
    [problem] = done.problems(trino=True)
    assert "no answer from lake and stream together has a history that Trino read" in problem
    assert asked(header("trino", 4, 5)).problems(trino=True) == []


def test_failures_and_silence_are_off() -> None:
    done = asked(header("direct", 4, 5))
    done.failures += ["trades: 503"]
    assert done.problems(trino=False) == ["a question was not answered: trades: 503"]
    assert Asked().problems(trino=True) == ["no question was answered while it ran"]


def test_a_header_too_long_for_http_is_kept_whole(tmp_path: Path) -> None:
    lacking = tuple(Missing(StreamPartition(1, one), 10**9, None, "TAIL_UNAVAILABLE") for one in range(300))
    frames = {kind: rows(kind, 5) for kind in (RecordKind.TRADES, RecordKind.QUOTES)}
    with served(tmp_path, MemoryGateway(frames, missing=lacking)) as edge:
        assert json.loads(edge.get("/v1/trades").headers["Seamark-Answer"])["truncated"]
        asking = Asking(edge.url, tmp_path / "answers", SYMBOLS)
        asking.start()
        until(lambda: asking.asked.answers or asking.asked.failures)
        asking.stop()
    assert asking.asked.failures == []
    kept = [json.loads(line) for line in (tmp_path / "answers" / "answers.jsonl").read_text().splitlines()]
    assert len(kept) == asking.asked.answers
    assert [len(line["missing"]) for line in kept] == [300] * len(kept)
