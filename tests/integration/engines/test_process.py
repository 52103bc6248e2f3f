"""A supervised process: never orphaned, and never silent about why it ended."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from seamark.local.engines.errors import EngineDiedError, EngineNotReadyError
from seamark.local.engines.process import SupervisedProcess

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
SUPERVISOR = """
import sys, time
from pathlib import Path
from seamark.local.engines.process import SupervisedProcess
child = SupervisedProcess("child", [sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_child_dies_with_a_supervisor_killed_by_kill_9(tmp_path, wait_until):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    child = int(supervisor.stdout.readline())
    assert is_running(child)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: not is_running(child), f"child {child} is gone")


def test_child_outlives_the_thread_that_started_it(tmp_path):
    child = SupervisedProcess("child", SLEEPER, tmp_path / "log")
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    try:
        with pytest.raises(EngineNotReadyError):
            child.wait_ready(lambda: False, deadline_seconds=0.5)
        assert child.pid is not None
    finally:
        child.kill()


def test_early_death_shows_exit_code_and_only_its_own_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("of an earlier run\n")
    child = SupervisedProcess("child", [sys.executable, "-c", "import sys; sys.exit('no disk left')"], log)
    child.start()
    with pytest.raises(EngineDiedError, match="code 1") as died:
        child.wait_ready(lambda: False, deadline_seconds=20)
    assert "no disk left" in str(died.value)
    assert "earlier run" not in str(died.value)


def test_stop_kills_what_ignores_sigterm(tmp_path):
    child = SupervisedProcess("child", [sys.executable, "-c", STUBBORN], tmp_path / "log")
    child.start()
    child.wait_ready(lambda: "deaf" in child.log_tail(), deadline_seconds=20)
    child.stop(grace_seconds=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_stop_reaches_a_paused_process(tmp_path):
    child = SupervisedProcess("child", SLEEPER, tmp_path / "log")
    child.start()
    child.pause()
    child.stop(grace_seconds=20)
    assert child.exit_code == -signal.SIGTERM


def test_ctrl_c_of_the_terminal_does_not_reach_it(tmp_path):
    child = SupervisedProcess("child", SLEEPER, tmp_path / "log")
    child.start()
    try:
        assert child.pid is not None
        assert os.getpgid(child.pid) != os.getpgrp()
    finally:
        child.kill()
