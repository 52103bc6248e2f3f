"""The requests a client sends over its WebSocket, and what the venue answers.

Pure: a request and the session it meets give a reply and the session after it. Names, codes and
texts follow the venue's page on WebSocket streams; two replies it does not document, to `params`
that are no list of names and to too many streams, carry its code 2 with a text of our own.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

STREAMS_PER_CONNECTION = 1024
_LONGEST_ID = 36
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection is subscribed to, in order, and whether its frames name their stream.

    Names are not checked: the venue accepts an unknown stream and never sends anything on it.
    """

    streams: tuple[str, ...]
    combined: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to send, as JSON text, and the session from now on."""

    reply: str
    session: Session


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message


def answer(request: str, session: Session) -> Answer:
    """Answers one text message. Anything may come in; an error leaves the session as it was."""
    identity: dict[str, Any] = {}
    try:
        message = _parse(request)
        identity["id"] = _identity(message)
        result, after = _perform(message, request, session)
    except _Refused as refused:
        return Answer(_json({"code": refused.code, "msg": refused.message, **identity}), session)
    return Answer(_json({"result": result, **identity}), after)


def _parse(request: str) -> dict[str, Any]:
    try:
        message = json.loads(request)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _Refused(3, f"Invalid JSON: expected value at {where}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond the parser's limits
        raise _Refused(3, "Invalid JSON: expected value at line 1 column 1") from error
    if not isinstance(message, dict):
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(request)}")
    return message


def _identity(message: dict[str, Any]) -> int | str | None:
    identity = message.get("id", False)
    if identity is None or (isinstance(identity, str) and len(identity) <= _LONGEST_ID):
        return identity
    if isinstance(identity, int) and not isinstance(identity, bool) and -(2**63) <= identity < 2**63:
        return identity
    raise _Refused(2, "Invalid request: request ID must be an unsigned integer")


def _perform(message: dict[str, Any], request: str, session: Session) -> tuple[Any, Session]:
    if "method" not in message:
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(request)}")
    method, parameters = message["method"], message.get("params", [])
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        column = request.find(f'"{method}"') + len(f'"{method}"')
        raise _Refused(
            2,
            f"Invalid request: unknown variant `{method}`, expected one of {expected} "
            f"at line 1 column {column}",
        )
    if not isinstance(parameters, list):
        raise _Refused(2, "Invalid request: params must be an array")
    if method == "LIST_SUBSCRIPTIONS":
        if parameters:
            raise _Refused(2, "Invalid request: too many parameters")
        return list(session.streams), session
    if method == "SUBSCRIBE":
        return None, subscribed(session, _stream_names(parameters))
    if method == "UNSUBSCRIBE":
        gone = set(_stream_names(parameters))
        return None, replace(session, streams=tuple(name for name in session.streams if name not in gone))
    return _property(method, parameters, session)


def _stream_names(parameters: list[Any]) -> list[str]:
    if not all(isinstance(name, str) for name in parameters):
        raise _Refused(2, "Invalid request: params must be an array of stream names")
    return parameters


def subscribed(session: Session, names: list[str]) -> Session:
    """The session with `names` added. Refused, all of them, beyond 1,024 streams."""
    streams = tuple(dict.fromkeys([*session.streams, *names]))
    if len(streams) > STREAMS_PER_CONNECTION:
        raise _Refused(
            2,
            f"Invalid request: {len(streams)} streams asked for, "
            f"a connection can listen to {STREAMS_PER_CONNECTION} at most",
        )
    return replace(session, streams=streams)


def _property(method: str, parameters: list[Any], session: Session) -> tuple[Any, Session]:
    setting = method == "SET_PROPERTY"
    if len(parameters) > (2 if setting else 1):
        raise _Refused(2, "Invalid request: too many parameters")
    if not parameters or not isinstance(parameters[0], str):
        raise _Refused(2, "Invalid request: property name must be a string")
    if parameters[0] != "combined":
        raise _Refused(0, "Unknown property")
    if not setting:
        return session.combined, session
    if len(parameters) < 2 or not isinstance(parameters[1], bool):
        raise _Refused(1, "Invalid value type: expected Boolean")
    return None, replace(session, combined=parameters[1])


def _json(reply: dict[str, Any]) -> str:
    return json.dumps(reply, separators=(",", ":"))
