"""What an answer says of itself in HTTP headers, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Mapping

from seamark.query_gateway.header import AnswerHeader

MOST_BYTES = 8_000
"""Of `Seamark-Answer`: clients and proxies refuse longer lines of a header."""
_ALWAYS = ("exact", "reason", "freshness_ms", "level", "clock", "engine", "query_id")
_REASON_CHARACTERS = 1_000


def answer_headers(header: AnswerHeader, document: Mapping[str, object]) -> dict[str, str]:
    """`document`: the header as JSON. The cursor has a line of its own."""
    shown = {name: value for name, value in document.items() if name != "cursor"}
    text = json.dumps(shown, separators=(",", ":"))  # ASCII: other characters do not fit a header
    if len(text) > MOST_BYTES:
        shown = {name: shown[name] for name in _ALWAYS} | {"truncated": True}
        shown["reason"] = (header.reason or "")[:_REASON_CHARACTERS] or None
        text = json.dumps(shown, separators=(",", ":"))
    return {
        "seamark-answer": text,
        "seamark-exact": "true" if header.exact else "false",
        "seamark-cursor": header.cursor,
        "seamark-query-id": header.query_id,
    }
