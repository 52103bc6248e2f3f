"""Answers under every interleaving: each is exactly the log below its E, or says what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.answer_defects import ANSWER_DEFECTS
from model.answers import CHECKED, AnswerMachine, QuoteAnswerMachine

MACHINES = {"trades": AnswerMachine, "quotes": QuoteAnswerMachine}
FIRST_SEEDS = {"trades": 1, "quotes": 101}
ANSWERS_A_KIND = 5_000
MOST_SEEDS = 60
RUNS_A_SEED = 12
RUNS_UNTIL_RED = 120


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    # A damaged state file is read again after a moment; here nothing changes within it.
    with patch("seamark.lake.states.time.sleep"):
        yield
    logging.disable(logging.NOTSET)


def run(kind: str, seed_number: int, runs: int) -> None:
    machine = MACHINES[kind]
    seeded = seed(seed_number)(type(f"Seeded{machine.__name__}", (machine,), {}))
    run_state_machine_as_test(
        seeded,
        settings=settings(
            max_examples=runs,
            stateful_step_count=60,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", MACHINES)
def test_every_answer_is_the_log_below_its_end(kind):
    CHECKED.clear()
    for more in range(MOST_SEEDS):
        run(kind, FIRST_SEEDS[kind] + more, RUNS_A_SEED)
        if CHECKED["answers"] >= ANSWERS_A_KIND:
            break
    print(dict(CHECKED))
    answers = CHECKED["answers"]
    assert answers >= ANSWERS_A_KIND
    assert CHECKED["across the seam"] >= 0.30 * answers
    for event in ("commit", "restart", "compaction"):
        assert CHECKED[f"into a {event}"] >= 0.03 * answers, event
    for event in ("partial", "same cursor, later", "as known at", "behind a foreign change"):
        assert CHECKED[event] > 0, event


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", [*ANSWER_DEFECTS])
def test_a_defect_of_the_read_side_turns_the_model_red(name):
    with ANSWER_DEFECTS.broken(name):
        for seed_number in (1, 2, 3):
            for kind in MACHINES:
                try:
                    run(kind, seed_number, RUNS_UNTIL_RED // 3)
                except Exception:  # noqa: BLE001 - any failure is the wanted one
                    return
    pytest.fail(f"the model does not notice: {name}")
