"""One demo at a time on a directory, and a clear word where there cannot be one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seamark.local.errors import DemoError
from seamark.local.run_directory import claimed

_HOLD = """
import sys
from pathlib import Path
from seamark.local.run_directory import claimed
with claimed(Path(sys.argv[1]), "sim"):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_a_second_demo_is_refused_and_told_who_has_the_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "claimed\n"
        with pytest.raises(DemoError, match=f"process {holder.pid}.*--directory"), claimed(tmp_path, "live"):
            pass
        holder.kill()
        holder.wait()
    with claimed(tmp_path, "live") as folder:  # the claim of a killed process is gone with it
        assert folder == tmp_path / "live"
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_claim_ends_with_the_context(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path / "new" / "run", "sim") as folder:
            assert folder.is_dir()


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DemoError, match=f"{file}.*cannot be written to.*--directory"), claimed(file, "sim"):
        pass
