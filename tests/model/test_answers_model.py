"""Answers under every interleaving: each is exactly the log below its E, or says what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.answers import CHECKED, AnswerMachine, QuoteAnswerMachine

MACHINES = {"trades": AnswerMachine, "quotes": QuoteAnswerMachine}
RUNS = 60


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
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


@pytest.mark.parametrize("kind", MACHINES)
def test_every_answer_is_the_log_below_its_end(kind):
    run(kind, 1, RUNS)
    print(dict(CHECKED))
