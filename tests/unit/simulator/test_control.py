"""Requests over the WebSocket and their answers."""

import json

import pytest

from seamark.simulator.control import STREAMS_PER_CONNECTION, Session, answer

SESSION = Session(("btcusdt@trade",), combined=False)


def ask(request, session=SESSION):
    given = answer(request if isinstance(request, str) else json.dumps(request), session)
    return json.loads(given.reply), given.session


@pytest.mark.parametrize("identity", [1, -(2**63), 2**63 - 1, "a" * 36, "", None])
def test_subscribing_adds_streams_once_and_echoes_the_id(identity):
    reply, after = ask(
        {"method": "SUBSCRIBE", "params": ["x@trade", "btcusdt@trade", "x@trade"], "id": identity}
    )
    assert reply == {"result": None, "id": identity}
    assert after.streams == ("btcusdt@trade", "x@trade")


def test_unsubscribing_removes_streams_and_ignores_others():
    reply, after = ask({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade", "none@trade"], "id": 312})
    assert reply == {"result": None, "id": 312}
    assert after.streams == ()


def test_subscriptions_are_listed():
    assert ask({"method": "LIST_SUBSCRIPTIONS", "id": 3})[0] == {"result": ["btcusdt@trade"], "id": 3}


def test_the_combined_property_is_set_and_told():
    reply, after = ask({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
    assert reply == {"result": None, "id": 5} and after.combined
    assert ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}, after)[0] == {
        "result": True,
        "id": 2,
    }


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ("{", 3, "Invalid JSON: expected value at line 1 column 2"),
        ("", 3, "Invalid JSON: expected value at line 1 column 1"),
        ('{"id":' + "1" * 5_000 + "}", 3, "Invalid JSON"),
        ("[" * 100_000, 3, "Invalid JSON"),
        ("[1]", 2, "missing field `method`"),
        ({"id": 1}, 2, "missing field `method` at line 1 column 9"),
        ({"method": "SUBSCRIBE", "params": []}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": [], "id": 2**63}, 2, "request ID must be"),
        ({"method": "SUBSCRIBE", "params": [], "id": True}, 2, "request ID must be"),
        ({"method": "SUBSCRIBE", "params": [], "id": "a" * 37}, 2, "request ID must be"),
        ({"method": "SUBSCRIBE", "params": [], "id": 1.5}, 2, "request ID must be"),
        ({"method": "SUB", "id": 1}, 2, "unknown variant `SUB`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`"),
        ({"method": ["x"], "id": 1}, 2, "unknown variant"),
        ({"method": "SUBSCRIBE", "params": "x", "id": 1}, 2, "params must be an array"),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2, "params must be an array of stream names"),
        ({"method": "LIST_SUBSCRIPTIONS", "params": ["x"], "id": 1}, 2, "too many parameters"),
        ({"method": "GET_PROPERTY", "params": ["combined", True], "id": 1}, 2, "too many parameters"),
        ({"method": "GET_PROPERTY", "id": 1}, 2, "property name must be a string"),
        ({"method": "SET_PROPERTY", "params": ["colour", True], "id": 1}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "expected Boolean"),
    ],
)
def test_a_wrong_request_is_told_so_and_changes_nothing(request_, code, text):
    reply, after = ask(request_)
    assert reply["code"] == code and text in reply["msg"]
    assert after == SESSION


def test_streams_beyond_the_limit_are_refused_as_a_whole():
    names = [f"s{n}@trade" for n in range(STREAMS_PER_CONNECTION - 1)]
    _, full = ask({"method": "SUBSCRIBE", "params": names, "id": 1})
    assert len(full.streams) == STREAMS_PER_CONNECTION
    reply, after = ask({"method": "SUBSCRIBE", "params": ["one@trade", "more@trade"], "id": 2}, full)
    assert reply["code"] == 2 and "1026" in reply["msg"] and "1024" in reply["msg"]
    assert after == full
