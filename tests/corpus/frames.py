"""What is wrong with a record whatever it is a record of: its frame, and where its bytes end."""

from __future__ import annotations

from corpus.wire import Case, Verdict, accept, reject

UNKNOWN_ID = 99


def frame_cases(good: bytes, other_id: int) -> list[Case]:
    """Cases made of a good record of one kind; `other_id` is the schema id of another kind."""
    body = good[5:]
    framed = "must be byte 00, a 4-byte schema id and the Avro body"
    return [
        accept("good", good),
        reject("no value (a tombstone)", None, f"0 bytes (null), {framed}"),
        reject("empty value", b"", f"0 bytes (empty), {framed}"),
        reject("shorter than a frame", good[:4], f"4 bytes ({good[:4].hex()}), {framed}"),
        reject("wrong magic byte", b"\x01" + good[1:], framed),
        reject("JSON", b'{"symbol": "BTCUSDT"}', framed),
        reject("another kind's schema id", b"\x00" + other_id.to_bytes(4, "big") + body, "schema id was"),
        Case("unknown schema id", b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + body, Verdict.UNRESOLVED),
        Case("greatest schema id", b"\x00\xff\xff\xff\xff" + body, Verdict.UNRESOLVED),
        reject("frame without a body", good[:5], "body of schema id"),
        reject("one byte short", good[:-1], "body of schema id"),
        reject("half of it", good[: len(good) // 2], "body of schema id"),
        reject("one byte behind it", good + b"\x00", "body of schema id"),
        reject("500 zero bytes behind it", good + b"\x00" * 500, "does not end where its bytes end"),
        reject("twice in one frame", good + body, "body of schema id"),
        reject("with its frame twice in one value", good + good, "body of schema id"),
        reject(
            "a length beyond all bytes in front", good[:5] + b"\xff\xff\xff\xff\xff\x0f" + body, "body of"
        ),
        reject("a negative length in front", good[:5] + b"\x03" + body, "body of schema id"),
    ]
