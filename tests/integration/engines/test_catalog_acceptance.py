"""Whether an Iceberg catalog can be trusted with the checkpoint.

Exactly-once rests on one thing: of several commits that were staged on the same snapshot, the
catalog lets one through and refuses the others, and what it has acknowledged stays. Catalogs
exist that acknowledge a commit and lose it. Here several processes read a counter from the
table's properties and commit the counter plus one together with one row; in the end the rows
must be exactly those acknowledged.

To judge another catalog, describe it to pyiceberg (``~/.pyiceberg.yaml``, or environment
variables ``PYICEBERG_CATALOG__<NAME>__URI`` and so on) and name it:

    SEAMARK_ACCEPTANCE_CATALOG=<name> make test-integration

The test makes a namespace of its own there and removes it when it passes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pyarrow as pa
import pytest
import requests
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, RESTError
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID

COUNTER = "acceptance.counter"
ROWS = pa.schema(
    [pa.field("id", pa.string(), nullable=False), pa.field("counter", pa.int64(), nullable=False)]
)
RACERS = 3
COMMITS_EACH = 8
DEADLINE_SECONDS = 120.0
# What a client sees when the answer to its commit never arrived: it may have landed or not.
UNKNOWN = (CommitStateUnknownException, requests.RequestException, RESTError, OSError)


@dataclass(slots=True)
class Outcome:
    """What one racer was told about its commits. Ids are those of the rows."""

    acknowledged: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: int = 0


def race(catalog: Catalog, table_name: str, racer: str, commits: int) -> Outcome:
    """Commits until `commits` were acknowledged: each time read, stage, send once, never retry."""
    outcome = Outcome()
    deadline = time.monotonic() + DEADLINE_SECONDS
    attempt = 0
    while len(outcome.acknowledged) < commits:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{racer}: {len(outcome.acknowledged)} of {commits} commits acknowledged")
        attempt += 1
        row_id = f"{racer}-{attempt}"
        try:
            table = catalog.load_table(table_name)
            counter = int(table.properties[COUNTER]) + 1
            head = table.current_snapshot()
            staged = table.transaction()
            staged.set_properties({COUNTER: str(counter)})
            staged.append(pa.Table.from_pylist([{"id": row_id, "counter": counter}], schema=ROWS))
        except UNKNOWN:
            continue  # the server is away; nothing was sent
        try:
            catalog.commit_table(
                table,
                (
                    AssertTableUUID(uuid=table.metadata.table_uuid),
                    AssertRefSnapshotId.model_validate(
                        {"ref": "main", "snapshot-id": head.snapshot_id if head else None}
                    ),
                ),
                staged._updates,
            )
        except CommitFailedException:
            outcome.refused += 1
        except UNKNOWN:
            outcome.unknown.append(row_id)
        else:
            outcome.acknowledged.append(row_id)
    return outcome


@contextmanager
def racers(
    catalog_name: str, properties: dict[str, str], table_name: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have loaded everything and set off together at the end of this call."""
    job = json.dumps({"catalog": catalog_name, "properties": properties, "table": table_name})
    running = [
        subprocess.Popen(
            [sys.executable, __file__, f"racer{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(RACERS)
    ]
    try:
        for racer in running:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in running:
            assert racer.stdin is not None
            racer.stdin.write(job + "\n")
            racer.stdin.flush()
        yield running
    finally:
        for racer in running:
            racer.kill()
            racer.wait()


def outcomes_of(running: list[subprocess.Popen[str]]) -> list[Outcome]:
    outcomes = []
    for racer in running:
        output, _ = racer.communicate(timeout=DEADLINE_SECONDS)
        assert racer.returncode == 0, "a racer failed; its traceback is above"
        outcomes.append(Outcome(**json.loads(output)))
    return outcomes


def assert_rows_equal_acknowledgements(catalog: Catalog, table_name: str, outcomes: list[Outcome]) -> None:
    table = catalog.load_table(table_name)
    rows = table.scan().to_arrow().sort_by("counter").to_pylist()
    ids = [row["id"] for row in rows]
    acknowledged = {row_id for outcome in outcomes for row_id in outcome.acknowledged}
    unknown = {row_id for outcome in outcomes for row_id in outcome.unknown}
    assert acknowledged - set(ids) == set(), "acknowledged commits were lost"
    assert set(ids) - acknowledged - unknown == set(), "refused commits landed"
    assert len(ids) == len(set(ids)), "a commit landed twice"
    assert [row["counter"] for row in rows] == list(range(1, len(rows) + 1)), "a stale commit landed"
    assert int(table.properties[COUNTER]) == len(rows), "a property landed without its row, or the reverse"


@pytest.fixture
def judged(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str], Catalog, str]]:
    """(name, properties, catalog, table): the catalog named by the environment, else the local one."""
    name = os.environ.get("SEAMARK_ACCEPTANCE_CATALOG", "")
    properties = {} if name else request.getfixturevalue("catalog_server").properties()
    catalog = load_catalog(name or "lake", **properties)
    namespace = f"acceptance_{uuid4().hex[:8]}"
    catalog.create_namespace(namespace)
    table_name = f"{namespace}.race"
    catalog.create_table(table_name, ROWS, properties={COUNTER: "0"})
    yield name or "lake", properties, catalog, table_name
    catalog.drop_table(table_name)
    catalog.drop_namespace(namespace)


def test_racing_commits_land_once_each_or_are_refused(judged):
    name, properties, catalog, table_name = judged
    with racers(name, properties, table_name) as running:
        outcomes = outcomes_of(running)
    assert sum(outcome.refused for outcome in outcomes) > 0, "they never raced: this run proves nothing"
    assert [len(outcome.acknowledged) for outcome in outcomes] == [COMMITS_EACH] * RACERS
    assert_rows_equal_acknowledgements(catalog, table_name, outcomes)


@pytest.mark.skipif(
    "SEAMARK_ACCEPTANCE_CATALOG" in os.environ, reason="only the local catalog can be killed from here"
)
def test_racing_commits_survive_kill_9_of_the_catalog(judged, catalog_server, wait_until):
    name, properties, catalog, table_name = judged

    def rows_committed() -> int:
        return int(catalog.load_table(table_name).properties[COUNTER])

    with racers(name, properties, table_name) as running:
        wait_until(lambda: rows_committed() >= RACERS, "the race is on")
        catalog_server.kill()
        catalog_server.start()
        outcomes = outcomes_of(running)
    assert_rows_equal_acknowledgements(catalog, table_name, outcomes)


def main(racer: str, say: Callable[[str], int]) -> None:
    """One racer: says ``ready``, takes its job as a line of JSON, answers with its Outcome."""
    say("ready\n")
    sys.stdout.flush()
    job = json.loads(sys.stdin.readline())
    catalog = load_catalog(job["catalog"], **job["properties"])
    outcome = race(catalog, job["table"], racer, COMMITS_EACH)
    json.dump(
        {"acknowledged": outcome.acknowledged, "unknown": outcome.unknown, "refused": outcome.refused},
        sys.stdout,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.write)
