"""First occurrence as the oracle understands it, on cases worked out by hand."""

import pytest

from seamark_oracle.journal import unscaled
from seamark_oracle.occurrence import QuoteOccurrence, TradeOccurrence

S = 1_000_000


def test_trades() -> None:
    fold = TradeOccurrence()
    steps = [
        (10, 100, 0),
        (12, 102, 0),  # a hole is no reset
        (11, 101, 0),  # late, and not seen before
        (12, 102, None),  # repeated
        (10, 102, None),  # known, not later than the greatest
        (10, 103, 1),  # known and later than all: the venue has reset
        (11, 104, 1),
        (10, 100, None),  # a repeat of epoch 0, by its time
        (13, 102, 0),  # late, of epoch 0, never seen
        (12, 103, 1),
        (10, 103, None),
        (11, 105, 2),
        (11, 104, None),
        (10, 101, None),
    ]
    for number, time, epoch in steps:
        assert fold.judge(number, time) == epoch, (number, time)


def test_quotes() -> None:
    fold = QuoteOccurrence()
    steps = [
        (5, 0, 0),
        (9, 1 * S, 0),
        (7, 2 * S, None),
        (9, 61 * S, None),  # 60 s exactly is not more than 60 s
        (9, 61 * S + 1, 1),
        (10, 30 * S, 1),  # greater counts whatever its time
        (3, 121 * S + 1, None),  # the greatest accepted time counts, not the last one's
        (3, 121 * S + 2, 2),
    ]
    for number, time, epoch in steps:
        assert fold.judge(number, time) == epoch, (number, time)


def test_remembered_history_judges_as_the_log_would() -> None:
    trades, quotes = TradeOccurrence(), QuoteOccurrence()
    for number, time, epoch in [(10, 100, 0), (10, 103, 1), (13, 102, 0)]:
        trades.remember(number, time, epoch)
    assert trades.judge(10, 103) is None
    assert trades.judge(14, 102) == 0
    assert trades.judge(10, 104) == 2
    for number, time, epoch in [(9, 1, 0), (4, 70 * S, 1)]:
        quotes.remember(number, time, epoch)
    assert quotes.judge(4, 71 * S) is None
    assert quotes.judge(5, 71 * S) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("61837.63000000", 618376300000000),
        ("0", 0),
        ("-1.5", -15_000_000_000),
        ("1.00000000010", 10_000_000_001),
    ],
)
def test_unscaled(text: str, number: int) -> None:
    assert unscaled(text) == number


@pytest.mark.parametrize("text", ["", ".", "1e3", "1.00000000001", "1" * 19, "+1", " 1", "٣"])
def test_a_text_that_is_not_exact_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="digits|decimal"):
        unscaled(text)
