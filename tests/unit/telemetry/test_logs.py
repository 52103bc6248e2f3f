"""One JSON object a line, whatever is logged."""

import json
import logging
import sys

from seamark.telemetry.logs import JsonLines, correlated


def formatted(message, *arguments, **extra):
    record = logging.getLogger("seamark.test").makeRecord(
        "seamark.test", logging.INFO, "f.py", 1, message, arguments, None, extra=extra
    )
    return JsonLines("ingestor").format(record)


def test_a_line_says_when_who_and_what():
    line = formatted("connected to %s", "venue\nline two", session_id="a-1", attempts=3)
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "INFO",
        "service": "ingestor",
        "logger": "seamark.test",
        "message": "connected to venue\nline two",
        "session_id": "a-1",
        "attempts": 3,
    }


def test_lines_within_carry_the_correlation_id_and_lines_after_do_not():
    with correlated("outer"):
        with correlated("inner"):
            assert json.loads(formatted("x"))["correlation_id"] == "inner"
        assert json.loads(formatted("x"))["correlation_id"] == "outer"
    assert "correlation_id" not in json.loads(formatted("x"))


def test_an_exception_and_values_that_are_not_json_stay_on_the_line():
    try:
        raise ValueError("bad")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info(), "where": {1, 2}})
    said = json.loads(JsonLines("writer").format(record))
    assert "ValueError: bad" in said["exception"]
    assert said["where"] == "{1, 2}"
