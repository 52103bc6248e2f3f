"""Questions name what they mean, and those that mean nothing are refused where they are made."""

from __future__ import annotations

import pytest

from seamark.market.predicate import Clock, Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.question import INTERVALS_US, BarsQuestion, Engine, Latest, MaxStaleness, Question

TRADES = RecordKind.TRADES
PRICE = Filter("price", Comparison.GT, (5,))
DAY_US = 86_400_000_000


def test_questions_for_other_rows_or_forms_have_other_names():
    questions = [
        Question(TRADES),
        Question(RecordKind.QUOTES),
        Question(TRADES, descending=True),
        Question(TRADES, columns=("price",)),
        Question(TRADES, columns=("quantity", "price")),
        Question(TRADES, columns=("price", "quantity")),
        Question(TRADES, Predicate(("A",))),
        Question(TRADES, Predicate(("A", "B"))),
        Question(TRADES, Predicate(("A,B",))),
        Question(TRADES, Predicate(from_us=5)),
        Question(TRADES, Predicate(to_us=5)),
        Question(TRADES, Predicate(clock=Clock.RECEIVE, to_us=5)),
        Question(TRADES, Predicate(known_at_us=5)),
        Question(TRADES, Predicate(filters=(PRICE,))),
        Question(TRADES, Predicate(filters=(Filter("price", Comparison.GE, (5,)),))),
        Question(TRADES, Predicate(filters=(Filter("price", Comparison.GT, (6,)),))),
        Question(TRADES, Predicate(filters=(Filter("symbol", Comparison.IN, ("a", "b")),))),
        Question(TRADES, Predicate(filters=(Filter("symbol", Comparison.IN, ("a, b",)),))),
    ]
    assert len({question.hash for question in questions}) == len(questions)


def test_the_same_rows_have_one_name_however_many_and_how_fresh():
    plain = Question(TRADES, Predicate(("A", "B")))
    for same in (
        Question(TRADES, Predicate(("B", "A"))),
        Question(TRADES, Predicate(("A", "B")), limit=5),
        Question(TRADES, Predicate(("A", "B")), consistency=MaxStaleness(5)),
        Question(TRADES, Predicate(("A", "B")), engine=Engine.DIRECT),
        Question(TRADES, Predicate(("A", "B")), page_cursor="x", consistency=Latest()),
    ):
        assert same.hash == plain.hash


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("fields", {"columns": ("price", "drop table")}),
        ("fields", {"columns": ("price", "price")}),
        ("limit", {"limit": -1}),
        ("clock", {"kind": RecordKind.FEED_EVENTS, "predicate": Predicate(clock=Clock.RECEIVE)}),
    ],
)
def test_a_question_that_means_nothing_is_refused(field, values):
    with pytest.raises(Invalid) as caught:
        Question(**{"kind": TRADES} | values)
    assert caught.value.field == field


def bars(from_us=0, to_us=DAY_US, interval="1m"):
    return BarsQuestion("binance", "spot", "A", from_us, to_us, interval)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("interval", {"interval": "2m"}),
        ("start", {"from_us": 5, "to_us": 5}),
        ("interval", {"to_us": (BarsQuestion.MOST_BARS * 1_000_000) + 1, "interval": "1s"}),
    ],
)
def test_bars_that_mean_nothing_are_refused(field, values):
    with pytest.raises(Invalid) as caught:
        bars(**values)
    assert caught.value.field == field


def test_as_many_bars_as_allowed_are_a_question():
    for interval, length_us in INTERVALS_US.items():
        assert bars(to_us=BarsQuestion.MOST_BARS * length_us, interval=interval).interval == interval
