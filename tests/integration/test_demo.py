"""The demo as a user runs it: it proves itself, leaves nothing running, and resumes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyiceberg.catalog import load_catalog

from seamark.local.engines import CatalogServer, KafkaNode, start_together, stop_together
from seamark.local.engines.jdk import find_jdk25

_SECONDS = 20
_SECONDS_WITH_TRINO = 25


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seamark.local", "demo", "--directory", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def survivors(directory: Path) -> list[str]:
    """Command lines of processes that work on `directory`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry.parent / "environ").read_bytes()
        except OSError:  # ended meanwhile
            continue
        if int(entry.parent.name) != os.getpid() and (
            str(directory) in line or f"MARK={directory}".encode() in environment
        ):
            found.append(line)
    return found


def figure(name: str, output: str) -> list[int]:
    """The numbers of a line of the proof."""
    line = re.search(rf"^{re.escape(name)} +([\d, ]+)$", output, re.MULTILINE)
    assert line, f"no line {name!r} in:\n{output}"
    return [int(number.replace(",", "")) for number in line[1].split()]


def assert_samples_are_shown(said: str) -> None:
    """Each sample question, with rows and facts below it, all exact."""
    requests = re.findall(r'^curl "\$API/([a-z/]+)', said, re.MULTILINE)
    assert requests == [
        "trades/recent",
        "bars",
        "aggregate",
        "asof",
        "instruments",
        "estimate",
        "watermark/trades",
    ]
    facts = re.findall(
        r"^  exact, direct, freshness_ms \d+((?:; \w+ S \S+ H \d+ E \d+)+)$", said, re.MULTILINE
    )
    assert len(facts) == 5, said  # an estimate and a watermark are not said to be exact
    assert re.search(r"^  freshness_ms \d+; trades S …\d{4} H [1-9]\d* E [1-9]\d*$", said, re.MULTILINE)


def assert_oracle_sees_a_lost_row(folder: Path) -> None:
    """Takes one row out of the lake that a demo left, and asks the oracle's own command."""
    kafka, catalog = KafkaNode(folder / "kafka"), CatalogServer(folder / "catalog")
    start_together([kafka, catalog])
    try:
        properties = folder / "catalog.json"
        properties.write_text(json.dumps(catalog.properties()))
        command = [sys.executable, "-m", "seamark_oracle", "--bootstrap", kafka.bootstrap]
        command += ["--catalog-json", str(properties), "--journal", str(folder / "venue-journal.jsonl")]
        exact = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert exact.returncode == 0, exact.stdout + exact.stderr

        trades = load_catalog("test", **catalog.properties()).load_table("market.trades")
        row = trades.scan(limit=1).to_arrow().to_pylist()[0]
        partition, offset = row["kafka_partition"], row["kafka_offset"]
        trades.delete(f"kafka_partition = {partition} and kafka_offset = {offset}")
        off = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert off.returncode == 1, off.stdout + off.stderr
        where = f"kafka_partition {partition}, kafka_offset {offset}"
        assert f"OFF  trades: no row is missing: 1\n       stream_id 1, {where}\n" in off.stdout
        assert "OFF  venue: every trade sent is in Iceberg: 1\n" in off.stdout
        assert figure("missing", off.stdout) == [1, 0, 0, 0]
    finally:
        stop_together([kafka, catalog])


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")
@pytest.mark.timeout(600)
def test_a_demo_proves_itself_leaves_nothing_behind_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", str(tmp_path))  # inherited by every process of the demo
    rows = 0
    for start in ("first", "second"):
        done = run(tmp_path, "--seconds", str(_SECONDS))
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert survivors(tmp_path) == [], start
        assert "EXACT: yes" in said
        assert "PASSED" in said.splitlines()
        assert "SIGKILL to the writer" in said
        assert re.search(r"first new row queryable \d+\.\d s after the start", said)
        assert f"{rows:,} rows of earlier runs" in said, "it did not resume"
        assert_samples_are_shown(said)
        for nothing in ("missing", "doubled", "wrong", "waiting above the checkpoint", "unproven, log gone"):
            assert figure(nothing, said) == [0, 0, 0, 0]
        trades, quotes, reference_data, feed_events = figure("rows in Iceberg", said)
        assert min(trades, quotes, reference_data, feed_events) > 0
        assert figure("  of these in Iceberg", said)[0] == trades
        assert figure("duplicates dropped", said)[0] > 0
        assert trades + quotes + reference_data + feed_events > rows
        rows = trades + quotes + reference_data + feed_events
        malformed = re.search(r"malformed frames: (\d+) sent, (\d+) kept as dead letters", said)
        assert malformed and 0 < int(malformed[1]) == int(malformed[2])
    assert_oracle_sees_a_lost_row(tmp_path / "sim")


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")
def test_answers_whose_history_trino_read_are_proven_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jdk, reason = find_jdk25()
    if jdk is None:
        pytest.skip(reason)
    monkeypatch.setenv("MARK", str(tmp_path))
    done = run(tmp_path, "--trino", "--seconds", str(_SECONDS_WITH_TRINO))
    said = done.stdout + done.stderr
    if "demo: cannot fetch" in said:
        pytest.skip(done.stderr)
    assert done.returncode == 0, said
    assert survivors(tmp_path) == []
    assert "PASSED" in said.splitlines()
    read = re.search(r"(\d+) of them from lake and stream together \(Trino read the history of (\d+)\)", said)
    assert read and 0 < int(read[2]) <= int(read[1]), said
    assert '"engine": "trino"' in said, "the header shown is not one of these"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent there alone")
def test_a_killed_demo_takes_everything_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until
) -> None:
    monkeypatch.setenv("MARK", str(tmp_path))
    log = tmp_path / "demo.log"
    with log.open("w") as out:
        demo = subprocess.Popen(
            [sys.executable, "-m", "seamark.local", "demo", "--directory", tmp_path / "run"],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: demo.poll() is not None or "and leg run" in log.read_text(), "everything runs", 120
        )
        assert demo.poll() is None, log.read_text()
        busy = run(tmp_path / "run", "--seconds", "10")
        assert busy.returncode == 1
        assert f"another demo runs on {tmp_path / 'run'} (process {demo.pid})" in busy.stderr
    finally:
        demo.send_signal(signal.SIGKILL)
        demo.wait()
    wait_until(lambda: survivors(tmp_path) == [], "every child is gone", 20)


def test_ctrl_c_while_starting_ends_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until
) -> None:
    monkeypatch.setenv("MARK", str(tmp_path))
    log = tmp_path / "demo.log"
    with log.open("w") as out:
        demo = subprocess.Popen(
            [sys.executable, "-m", "seamark.local", "demo", "--directory", tmp_path / "run"],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    wait_until(lambda: "starting on" in log.read_text(), "it starts", 60)
    began = time.monotonic()
    demo.send_signal(signal.SIGINT)
    assert demo.wait(90) == 130, log.read_text()
    assert time.monotonic() - began < 60
    assert "nothing was proven" in log.read_text()
    # A first start formats Kafka's folder by a program of its own, which ends by itself.
    wait_until(lambda: survivors(tmp_path) == [], "nothing is left", 10)
