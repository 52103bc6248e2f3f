from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest
import requests

from seamark.query_gateway.auth import Keys, KeysInvalid, Role, new_key
from seamark.query_gateway.errors import Forbidden, Unauthenticated
from seamark.query_gateway.header import Estimate
from seamark.query_gateway.main import main
from seamark.query_gateway.question import Engine
from seamark.query_gateway.quotas import Quota
from twins.gateway import MemoryGateway
from unit.query_gateway.api.serving import Served, served, until

DEFAULT = Quota(10.0, 100.0, 2)


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("# keys", "", *lines)) + "\n")
    return path


def test_a_key_is_known_by_its_hash_alone(tmp_path: Path):
    key, line = new_key("alice", [Role.READER])
    assert key not in line
    caller = Keys(written(tmp_path / "keys", line), DEFAULT).caller(key)
    assert (caller.name, caller.roles, caller.quota) == ("alice", frozenset({Role.READER}), DEFAULT)
    with pytest.raises(Forbidden, match="operator"):
        caller.require(Role.OPERATOR)


def test_a_key_may_have_a_quota_of_its_own(tmp_path: Path):
    key, line = new_key("bob", [Role.READER, Role.OPERATOR])
    line = json.dumps(json.loads(line) | {"burst": 7, "concurrency": 1})
    assert Keys(written(tmp_path / "keys", line), DEFAULT).caller(key).quota == Quota(10.0, 7.0, 1)


def test_any_other_key_is_unknown(tmp_path: Path):
    key, line = new_key("alice", [Role.READER])
    keys = Keys(written(tmp_path / "keys", line), DEFAULT)
    head, secret = key[:21], key[21:]
    flipped = head + ("a" if secret[0] != "a" else "b") + secret[1:]
    for wrong in (
        None,
        "",
        "x",
        flipped,
        key + "x",
        key[:-1],
        new_key("alice", [])[0],
        key.upper(),
        "é" * 64,
    ):
        with pytest.raises(Unauthenticated):
            keys.caller(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a b"},
        {"id": "x"},
        {"hash": "md5:1:2"},
        {"roles": ["root"]},
        {"roles": None},
        {"burst": 0},
        {"burst": True},
        {"concurrency": "many"},
        {"colour": "red"},
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, change: dict[str, object]):
    line = json.dumps(json.loads(new_key("alice", [Role.READER])[1]) | change)
    with pytest.raises(KeysInvalid, match="line 3"):
        Keys(written(tmp_path / "keys", line), DEFAULT)


def test_the_same_key_twice_is_refused(tmp_path: Path):
    line = new_key("alice", [Role.READER])[1]
    with pytest.raises(KeysInvalid, match="line 4: id was"):
        Keys(written(tmp_path / "keys", line, line), DEFAULT)


def test_no_file_is_refused(tmp_path: Path):
    with pytest.raises(KeysInvalid, match="No such file"):
        Keys(tmp_path / "keys", DEFAULT)


def test_a_changed_file_is_seen_and_a_broken_one_changes_nothing(tmp_path: Path):
    now = [0.0]
    (old, old_line), (new, new_line) = (new_key("old", [Role.READER]), new_key("new", [Role.READER]))
    path = written(tmp_path / "keys", old_line)
    keys = Keys(path, DEFAULT, lambda: now[0])
    written(path, new_line)
    assert keys.caller(old).name == "old"  # within the second
    now[0] += 1.5
    assert keys.caller(new).name == "new"
    with pytest.raises(Unauthenticated):
        keys.caller(old)
    path.write_text("{")
    now[0] += 1.5
    assert keys.caller(new).name == "new"
    path.unlink()
    now[0] += 1.5
    assert keys.caller(new).name == "new"
    written(path, old_line)
    now[0] += 1.5
    assert keys.caller(old).name == "old"


def test_the_command_prints_a_key_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["key", "new", "carol", "--role", "reader", "--role", "operator"]) == 0
    _, key, _, line = capsys.readouterr().out.splitlines()
    caller = Keys(written(tmp_path / "keys", line), DEFAULT).caller(key)
    assert (caller.name, caller.roles) == ("carol", frozenset(Role))
    assert main(["key", "new", "not a name"]) == 2


@pytest.fixture
def people(tmp_path: Path):
    """An edge with keys: {name: key} beside it. `poor` has a burst of 5 units and one request at a time."""
    made = {
        "reader": new_key("reader", [Role.READER]),
        "other": new_key("other", [Role.READER]),
        "operator": new_key("operator", [Role.OPERATOR]),
        "poor": new_key("poor", [Role.READER]),
    }
    lines = {name: line for name, (_, line) in made.items()}
    poor = json.loads(lines["poor"]) | {"units_per_second": 0.5, "burst": 5, "concurrency": 1}
    path = written(tmp_path / "keys", *(lines | {"poor": json.dumps(poor)}).values())
    with served(tmp_path, MemoryGateway(), Keys(path, DEFAULT)) as edge:
        yield edge, {name: key for name, (key, _) in made.items()}, path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_everything_below_v1_needs_a_key(people):
    edge, keys, _ = people
    for path in ("/v1/trades", "/v1/nothing", "/v1/queries", "/v1/trades?limit=x"):
        for headers in ({}, {"X-API-Key": "x"}, {"Authorization": "Basic abc"}, bearer("")):
            answer = edge.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert edge.metric("seamark_gateway_auth_failures_total") == 16
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert edge.get(path).status_code == 200
    assert edge.get("/readyz").json()["auth"] == "on"


def test_a_key_is_taken_from_either_header(people):
    edge, keys, _ = people
    assert edge.get("/v1/trades", headers=bearer(keys["reader"])).status_code == 200
    assert edge.get("/v1/trades", headers={"X-API-Key": keys["reader"]}).status_code == 200
    assert edge.audited(caller="reader")["endpoint"] == "/v1/trades"


def test_a_role_that_is_lacking_is_403(people):
    edge, keys, _ = people
    for path in ("/v1/trades", "/v1/watermark/trades", "/v1/estimate"):
        answer = edge.get(path, headers=bearer(keys["operator"]))
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    edge.get("/v1/quotes")
    assert "operator must include reader" in edge.audited(status=403, caller="operator")["error"]
    assert "no API key" in edge.audited(status=401, question="GET /v1/quotes")["error"]


def test_the_keys_file_is_read_again_while_serving(people):
    edge, keys, path = people
    assert edge.get("/v1/trades", headers=bearer(keys["reader"])).status_code == 200
    lines = [
        line
        for line in path.read_text().splitlines()
        if '"reader"' not in line or '"name": "reader"' not in line
    ]
    added, line = new_key("added", [Role.READER])
    replacement = written(path.with_suffix(".new"), *lines, line)
    os.replace(replacement, path)
    until(lambda: edge.get("/v1/trades", headers=bearer(added)).status_code == 200)
    assert edge.get("/v1/trades", headers=bearer(keys["reader"])).status_code == 401


def test_a_query_is_seen_and_stopped_by_its_caller_and_by_operators_only(people):
    edge, keys, _ = people
    edge.gateway.open_gate = edge.call(asyncio.Event)
    answers: list[requests.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(edge.get("/v1/trades", headers=bearer(keys["reader"])))
    )
    asking.start()

    def seen(name: str) -> list[str]:
        found = edge.get("/v1/queries", headers=bearer(keys[name])).json()["queries"]
        return [one["query_id"] for one in found]

    query_id = until(lambda: seen("reader"))[0]
    assert seen("operator") == [query_id]
    assert seen("other") == []

    def stop(name: str) -> int:
        return requests.delete(
            f"{edge.url}/v1/queries/{query_id}", headers=bearer(keys[name]), timeout=20
        ).status_code

    assert stop("other") == 404
    assert stop("operator") == 200
    asking.join(10)
    assert answers[0].status_code == 499
    assert "stopped by operator" in answers[0].json()["message"]


def test_units_run_out_and_come_back(people):
    edge, keys, _ = people
    codes = [edge.get("/v1/trades", headers=bearer(keys["poor"])) for _ in range(6)]
    assert [answer.status_code for answer in codes[:5]] == [200] * 5
    assert codes[5].status_code == 429
    assert 1 <= int(codes[5].headers["Retry-After"]) <= 2
    assert edge.metric("seamark_gateway_quota_refusals_total") == 1
    until(lambda: edge.get("/v1/trades", headers=bearer(keys["poor"])).status_code == 200)


def test_what_costs_more_than_there_ever_is_is_refused_at_once(people):
    edge, keys, _ = people
    edge.gateway.estimate_is = Estimate(1_000_000, 10**8, 9, Engine.DIRECT, 200)
    answer = edge.get("/v1/trades", format="csv", headers=bearer(keys["poor"]))
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers
    # A page of it takes a small part of that.
    edge.gateway.estimate_is = Estimate(100_000_000, 10**8, 9, Engine.DIRECT, 2_000)
    assert edge.get("/v1/trades", limit=10, headers=bearer(keys["poor"])).status_code == 200


def test_small_answers_cost_a_unit_and_stopping_ones_own_queries_nothing(people):
    edge, keys, _ = people

    def statuses(path: str) -> set[int]:
        return {edge.get(path, headers=bearer(keys["poor"])).status_code for _ in range(8)}

    assert statuses("/v1/watermark/trades") == {200, 429}
    assert statuses("/v1/queries") == {200}


def test_requests_at_a_time_are_limited(people):
    edge, keys, _ = people
    gate = edge.gateway.open_gate = edge.call(asyncio.Event)
    answers: list[requests.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(edge.get("/v1/trades", headers=bearer(keys["poor"])))
    )
    asking.start()
    until(lambda: edge.gateway.calls)
    assert edge.get("/v1/trades", headers=bearer(keys["poor"])).status_code == 429
    edge.call(gate.set)
    asking.join(10)
    assert answers[0].status_code == 200
    assert edge.get("/v1/trades", headers=bearer(keys["poor"])).status_code == 200


def test_an_edge_without_keys_says_so(tmp_path: Path):
    with served(tmp_path, MemoryGateway()) as edge:
        found: Served = edge
        assert found.get("/readyz").json()["auth"] == "off"
