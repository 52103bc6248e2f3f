from __future__ import annotations

import socket
from pathlib import Path

import pytest

from seamark.query_gateway.auth import Role, new_key
from seamark.query_gateway.main import main
from seamark.query_gateway.settings import GatewaySettings

NEEDED = {
    "SEAMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "SEAMARK_CATALOG_URI": "http://127.0.0.1:8181",
    "SEAMARK_STATE_URI": "file:///state",
    "SEAMARK_TAIL_ADDRESSES": "127.0.0.1:9095,127.0.0.1:9097",
    "SEAMARK_KEYS_FILE": "keys",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    def given(**changes: str) -> None:
        for name, value in (NEEDED | changes).items():
            monkeypatch.setenv(name, value)

    return given


def test_what_is_needed_is_enough(environment):
    environment()
    settings = GatewaySettings.load()
    assert settings.tail_addresses == ("127.0.0.1:9095", "127.0.0.1:9097")
    assert settings.auth == "on"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SEAMARK_TAIL_ADDRESSES": "tail"}, "SEAMARK_TAIL_ADDRESSES was 'tail', must be host:port"),
        ({"SEAMARK_TAIL_REPLICATION": "3"}, "SEAMARK_TAIL_REPLICATION was 3, must be at most"),
        ({"SEAMARK_CURSOR_KEY": "short"}, "SEAMARK_CURSOR_KEY has a value that is not shown"),
        ({"SEAMARK_TRINO_URL": "trino"}, "SEAMARK_TRINO_URL was 'trino', must be http://host:port"),
        ({"SEAMARK_KEYS_FILE": ""}, "SEAMARK_KEYS_FILE is not set"),
        (
            {"SEAMARK_AUTH": "off", "SEAMARK_HTTP_HOST": "0.0.0.0"},
            "SEAMARK_HTTP_HOST was '0.0.0.0', must be a loopback",
        ),
        (
            {"SEAMARK_AUTH": "off", "SEAMARK_GRPC_HOST": "10.0.0.1"},
            "SEAMARK_GRPC_HOST was '10.0.0.1', must be a loopback",
        ),
        ({"SEAMARK_AUTH": "maybe"}, "SEAMARK_AUTH was 'maybe', must be on, or off"),
        ({"SEAMARK_DEFAULT_ROWS": "200000"}, "SEAMARK_DEFAULT_ROWS was 200000, must be at most"),
        ({"SEAMARK_TIMEOUT_SECONDS": "400"}, "SEAMARK_TIMEOUT_SECONDS was 400, must be at most"),
    ],
)
def test_a_wrong_setting_is_named(environment, capsys: pytest.CaptureFixture[str], changes, complaint: str):
    environment(**changes)
    with pytest.raises(SystemExit) as refused:
        GatewaySettings.load()
    assert refused.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_authentication_may_be_off_on_loopback(environment, host: str):
    environment(SEAMARK_AUTH="off", SEAMARK_HTTP_HOST=host, SEAMARK_KEYS_FILE="")
    assert GatewaySettings.load().keys_file is None


def test_a_taken_port_ends_the_start_with_a_reason(
    environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    keys = tmp_path / "keys"
    keys.write_text(new_key("alice", [Role.READER])[1])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment(SEAMARK_KEYS_FILE=str(keys), SEAMARK_HTTP_PORT=port)
        assert main([]) == 1
    assert f"SEAMARK_HTTP_PORT was {port}, must be free on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SEAMARK_KEYS_FILE": "/nowhere/keys"}, "keys file /nowhere/keys: No such file"),
        (
            {"SEAMARK_AUTH": "off", "SEAMARK_AUDIT_FILE": "/nowhere/audit"},
            "SEAMARK_AUDIT_FILE was /nowhere/audit",
        ),
    ],
)
def test_a_file_that_is_not_there_ends_the_start_with_a_reason(
    environment, capsys: pytest.CaptureFixture[str], changes, complaint: str
):
    environment(**changes)
    assert main([]) == 1
    assert complaint in capsys.readouterr().err
