"""Which records the oracle refuses, rule by rule."""

from decimal import Decimal, localcontext

import pytest

from seamark.market.schema import RecordKind, avro_schema
from seamark_oracle.contract import RECORDS
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown
from unit.oracle.world import START_US, at, feed_event, frame, instrument, quote, trade


def _varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _with(value: bytes, good: bytes, bad: bytes) -> bytes:
    assert value.count(good) == 1
    return value.replace(good, bad)


USDT, TAIL = b"\x08USDT", b"\x08USDT\x02\x02\x04\x02a\x02b\x00\x00\x00\x00"
WIDE = (10**28).to_bytes(12, "big")
PRICE = b"\x0e" + int(Decimal("61837.6300000001") * 10**10).to_bytes(7, "big")
BODY = frame("trades", trade())
INSTRUMENT, DAY = frame("reference_data", instrument("S", "e")), 17_395  # its listing date

REFUSED = {
    "null": None,
    "empty": b"",
    "short": b"\0\0\0\0",
    "first byte": b"\1" + BODY[1:],
    "another kind": frame("quotes", quote()),
    "ends early": BODY[:-1],
    "bytes left": BODY + b"\0",
    "only a frame": BODY[:5],
    "text not UTF-8": _with(BODY, USDT, b"\x08US\xffT"),
    "negative length": _with(BODY, USDT, b"\x01"),
    "enum negative": _with(BODY, TAIL, USDT + b"\x01" + TAIL[6:]),
    "enum too great": _with(BODY, TAIL, USDT + b"\x08" + TAIL[6:]),
    "union branch": BODY[:-1] + b"\x04",
    "endless number": _with(BODY, TAIL, USDT + b"\x80" * 10 + b"\x02" + TAIL[6:]),
    "number over 64 bits": _with(BODY, _varint(START_US), b"\xff" * 9 + b"\x7f"),
    "array too long": _with(BODY, TAIL, USDT + b"\x02\x02" + _varint(10**12) + TAIL[8:]),
    "29 digits": _with(BODY, PRICE, b"\x18" + WIDE),
    "before 1970": frame("trades", trade(timestamp=at(-1))),
    "year 2200": frame("trades", trade(published_timestamp=at(7_258_118_400_000_000))),
    "empty symbol": frame("trades", trade(symbol="")),
    "long symbol": frame("trades", trade(symbol="é" * 33)),
    "no id": frame("trades", trade(source_sequence=None)),
    "negative id": frame("trades", trade(source_sequence=-1)),
    "other feed": frame("trades", trade(feed="aggTrade")),
    "other market": frame("trades", trade(market="usdm")),
    "other venue": frame("trades", trade(exchange="okx")),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_a_record_that_breaks_the_contract_is_refused(value: bytes | None) -> None:
    with pytest.raises(Refused):
        RecordReader("trades").read(value)


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ("quotes", frame("quotes", quote(feed="trade"))),
        ("feed_events", frame("feed_events", feed_event(""))),
        ("feed_events", frame("feed_events", feed_event("e" * 257))),
        ("reference_data", frame("reference_data", instrument("", "e"))),
        ("reference_data", _with(INSTRUMENT, _varint(DAY), _varint(-719_163))),
        ("reference_data", _with(INSTRUMENT, _varint(DAY), _varint(2_932_897))),
    ],
)
def test_every_table_has_its_rules(table: str, value: bytes) -> None:
    with pytest.raises(Refused):
        RecordReader(table).read(value)


def test_an_unknown_schema_is_not_a_refusal() -> None:
    with pytest.raises(SchemaUnknown):
        RecordReader("trades").read(frame("trades", trade(), schema_id=6))


def test_the_edges_of_the_contract_are_taken() -> None:
    with localcontext() as context:
        context.prec = 40
        greatest = Decimal(10**28 - 1).scaleb(-10)
        record = trade(
            price=-greatest,
            quantity=greatest,
            timestamp=at(0),
            published_timestamp=at(7_258_118_399_999_999),
            symbol="s" * 64,
            source_sequence=2**63 - 1,
        )
    values = dict(
        zip(
            [f.name for f in RECORDS["trades"]],
            RecordReader("trades").read(frame("trades", record)),
            strict=True,
        )
    )
    assert values["price"] == -(10**28) + 1
    assert values["quantity"] == 10**28 - 1
    assert (values["timestamp"], values["published_timestamp"]) == (0, 7_258_118_399_999_999)
    assert values["source_sequence"] == 2**63 - 1


def test_an_array_in_sized_blocks_is_one_array() -> None:
    blocks = b"\x02" + b"\x01\x04\x02a" + b"\x02\x02b" + b"\x00"
    value = _with(BODY, TAIL, USDT + b"\x02" + blocks + TAIL[13:])
    names = [field.name for field in RECORDS["trades"]]
    assert RecordReader("trades").read(value)[names.index("trade_conditions")] == ["a", "b"]


@pytest.mark.parametrize("table", RECORDS)
def test_the_oracles_copy_of_the_contract_is_the_contract(table: str) -> None:
    published = [
        (field["name"], isinstance(field["type"], list)) for field in avro_schema(RecordKind(table))["fields"]
    ]
    assert [(field.name, field.nullable) for field in RECORDS[table]] == published
