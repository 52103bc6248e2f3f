"""What is wrong with a record whatever it is a record of: its frame, where its bytes end, its branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from corpus.wire import NULL, Case, Verdict, accept, long, padded, reject, some

UNKNOWN_ID = 99
_FAR_OFF = (3, -2, 2**63 - 1, -(2**63), 2**32 + 1, 2**8 + 1)
"""Branches; cut to 32 or to 8 bits, the last two would be branch 1."""


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


def branch_cases(make: Callable[..., bytes], nullable: Mapping[str, bytes], needed: str = "") -> list[Case]:
    """Cases of each field that may be null, made by `make`, which changes fields of a good record.

    `nullable` has a good value of each; `needed` may not be null, for all that its type says.
    """
    cases = [accept("all there that may be null", make(**{name: some(nullable[name]) for name in nullable}))]
    first, last = list(nullable)[0], list(nullable)[-1]
    for name, value in nullable.items():
        cases += [
            reject(
                f"{name}: branch {branch}",
                make(**{name: long(branch) + value}),
                f"{name}: union branch was {branch}, must be 0 or 1",
            )
            for branch in ((2, -1, *_FAR_OFF) if name == first else (2, -1))
        ]
        cases += [
            reject(f"{name}: branch 2 without a value", make(**{name: long(2)}), "body of schema id"),
            accept(f"{name}: branch 1 in two bytes", make(**{name: padded(long(1), 2) + value})),
            accept(f"{name}: branch 1 in ten bytes", make(**{name: padded(long(1), 10) + value})),
            reject(
                f"{name}: branch 1 in eleven bytes", make(**{name: padded(long(1), 11) + value}), "body of"
            ),
        ]
        if name != needed:
            cases += [
                accept(f"{name}: null", make(**{name: NULL})),
                accept(f"{name}: null in ten bytes", make(**{name: padded(NULL, 10)})),
            ]
    return [
        *cases,
        reject(
            "two fields of a branch that is not there",
            make(**{first: long(2) + nullable[first], last: long(3) + nullable[last]}),
            f"{first}: union branch was 2",
        ),
    ]
