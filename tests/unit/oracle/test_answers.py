"""The oracle finds what is wrong with an answer that was given: every kind of defect, put in by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamark.market.order import total_order
from seamark.market.schema import RecordKind, row_schema
from seamark_oracle import Verdict
from seamark_oracle.errors import OracleError
from seamark_oracle.judge import judge_evidence
from unit.oracle.world import World, at, build

ENDS = {"1.0": 40, "1.1": 60}
PRICE_STEP = Decimal("0.0000000001")


@dataclass
class Answer:
    """What was asked of trades, and what came."""

    rows: list[dict[str, Any]]
    symbols: Sequence[str] = ()
    from_us: int | None = None
    to_us: int | None = None
    end: dict[str, int] = field(default_factory=lambda: dict(ENDS))
    missing: list[dict[str, Any]] = field(default_factory=list)
    exact: bool = True


def place(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in total_order(RecordKind.TRADES)]


def time_us(row: dict[str, Any]) -> int:
    return int((row["timestamp"] - at(0)) // timedelta(microseconds=1))


def below(world: World, ends: dict[str, int] = ENDS) -> list[dict[str, Any]]:
    """Rows of trades below E, in the total order."""
    rows = [
        row
        for row in world.rows["trades"]
        if row["kafka_offset"] < ends.get(f"{row['stream_id']}.{row['kafka_partition']}", 0)
    ]
    return sorted(rows, key=place)


def judged(world: World, *answers: Answer) -> Verdict:
    folder = world.folder / "answers"
    folder.mkdir(exist_ok=True)
    lines = []
    for number, answer in enumerate(answers):
        name = f"{number}.parquet"
        pq.write_table(pa.Table.from_pylist(answer.rows, row_schema(RecordKind.TRADES)), folder / name)
        asked = {key: value for key, value in vars(answer).items() if key != "rows"}
        lines.append(json.dumps({"table": "trades", "rows": name, **asked}))
    (folder / "answers.jsonl").write_text("\n".join(lines))
    return judge_evidence(world, world, answers=folder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build(tmp_path, seed=1)


def test_right_answers_of_every_form_pass(world: World) -> None:
    rows = below(world)
    middle = time_us(rows[len(rows) // 2])
    partial = [row for row in rows if row["kafka_partition"] != 1 or not 20 <= row["kafka_offset"] < 30]
    unknown = [row for row in rows if row["kafka_partition"] != 1 or row["kafka_offset"] < 20]
    late = [row for row in rows if at(middle) <= row["timestamp"] < at(middle + 20_000)]
    assert 0 < len(late) < len(rows)
    verdict = judged(
        world,
        Answer(rows),
        Answer([row for row in rows if row["symbol"] == "BTCUSDT"], ["BTCUSDT", "NONE"]),
        Answer(late, from_us=middle, to_us=middle + 20_000),
        Answer(partial, missing=[{"partition": "1.1", "from": 20, "to": 30}], exact=False),
        Answer(unknown, missing=[{"partition": "1.1", "from": 20, "to": "unknown"}], exact=False),
        Answer([], end={}),
    )
    assert verdict.exact, verdict.to_text()
    [figures] = verdict.answers
    assert (figures.answers, figures.exact) == (6, 4)
    assert figures.rows == sum(map(len, (rows, late, partial, unknown))) + sum(
        row["symbol"] == "BTCUSDT" for row in rows
    )


def test_of_offsets_that_the_log_has_lost_nothing_is_asked(world: World) -> None:
    rows = below(world)
    world.log_start["trades"] = 30
    verdict = judged(
        world, Answer(rows), Answer([row for row in rows if row["kafka_offset"] >= 30]), Answer(rows[:-1])
    )
    failed = [check for check in verdict.checks if not check.passed]
    assert [(check.subject, check.name) for check in failed] == [
        ("answers", "no answer about trades lacks a row")
    ]
    assert failed[0].offending == 1


def drop(answer: Answer, world: World) -> None:
    del answer.rows[5]


def empty(answer: Answer, world: World) -> None:
    answer.rows.clear()


def beyond_the_end(answer: Answer, world: World) -> None:
    answer.rows = below(world, {"1.0": 41, "1.1": 60})


def twice(answer: Answer, world: World) -> None:
    answer.rows.insert(5, answer.rows[5])


def other_symbol(answer: Answer, world: World) -> None:
    answer.symbols = ["BTCUSDT"]


def at_the_end_of_the_window(answer: Answer, world: World) -> None:
    answer.to_us = time_us(answer.rows[-1])


def before_the_window(answer: Answer, world: World) -> None:
    answer.from_us = time_us(answer.rows[0]) + 1


def price(answer: Answer, world: World) -> None:
    answer.rows[5] = answer.rows[5] | {"price": answer.rows[5]["price"] + PRICE_STEP}


def epoch(answer: Answer, world: World) -> None:
    answer.rows[5] = answer.rows[5] | {"id_epoch": 7}


def swapped(answer: Answer, world: World) -> None:
    answer.rows[5], answer.rows[6] = answer.rows[6], answer.rows[5]


def by_offset(answer: Answer, world: World) -> None:
    answer.rows.sort(key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def given_though_missing(answer: Answer, world: World) -> None:
    answer.missing, answer.exact = [{"partition": "1.1", "from": 20, "to": 30}], False


def exact_though_missing(answer: Answer, world: World) -> None:
    answer.rows = [row for row in answer.rows if row["kafka_partition"] == 0]
    answer.missing = [{"partition": "1.1", "from": 0, "to": 60}]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (drop, "no answer about trades lacks a row"),
        (empty, "no answer about trades lacks a row"),
        (beyond_the_end, "no answer about trades has a row too many"),
        (twice, "no answer about trades has a row twice"),
        (other_symbol, "no answer about trades has a row too many"),
        (at_the_end_of_the_window, "no answer about trades has a row too many"),
        (before_the_window, "no answer about trades has a row too many"),
        (price, "every value of answers about trades equals the log's"),
        (epoch, "every value of answers about trades equals the log's"),
        (swapped, "answers about trades are in the total order"),
        (by_offset, "answers about trades are in the total order"),
        (given_though_missing, "no answer about trades has a row too many"),
        (exact_though_missing, "no answer about trades is exact and lacks ranges"),
    ],
)
def test_a_wrong_answer_is_found(world: World, spoil: Callable[[Answer, World], None], check: str) -> None:
    answer = Answer(below(world))
    spoil(answer, world)
    verdict = judged(world, Answer(below(world)), answer)
    assert not verdict.exact
    assert check in {each.name for each in verdict.checks if not each.passed}, verdict.to_text()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "0.parquet").write_bytes(b"none"), "answers 0 to 0"),
        (lambda folder: (folder / "answers.jsonl").write_text('{"table": "trades"}'), "line 1 of"),
        (lambda folder: (folder / "answers.jsonl").unlink(), "must hold answers.jsonl"),
    ],
)
def test_an_answer_that_cannot_be_read_is_said(
    world: World, spoil: Callable[[Path], object], words: str
) -> None:
    judged(world, Answer(below(world)))
    spoil(world.folder / "answers")
    with pytest.raises(OracleError, match=words):
        judge_evidence(world, world, answers=world.folder / "answers")
