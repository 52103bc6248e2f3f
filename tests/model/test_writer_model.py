"""The writer under every interleaving: 1,040 seeded runs, and each named defect turns them red."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.defects import DEFECTS
from model.machine import QuoteMachine, WriterMachine

MACHINES = {"trades": WriterMachine, "quotes": QuoteMachine}
RUNS_PER_SEED = 260
RUNS_UNTIL_RED = 400


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The faults are the point: their log lines would be megabytes."""
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
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("seed_number", [1, 2])
def test_table_is_the_fold_of_the_log_whatever_happens(kind, seed_number):
    run(kind, seed_number, RUNS_PER_SEED)


@pytest.mark.parametrize("name", [*DEFECTS])
def test_defect_turns_the_model_red(name):
    with DEFECTS.broken(name):
        for kind in MACHINES:
            try:
                run(kind, 1, RUNS_UNTIL_RED)
            except Exception:  # noqa: BLE001 - any failure is the wanted one
                return
    pytest.fail(f"the model does not notice: {name}")
