"""Whatever bytes a record has: a verdict, the same alone and among others, and no wrong values."""

from decimal import Context, Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corpus.corpora import CORPORA, good_record
from corpus.feed_events import EVENT
from corpus.quotes import QUOTE
from corpus.reference_data import INSTRUMENT
from corpus.trades import TRADE
from corpus.wire import LATEST_US, Verdict, array, decimal, frame, long, padded, text
from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.decode import Decoder
from seamark.stream.wire import FIXED_SCHEMA_IDS, FRAME_BYTES
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown

DECODERS = {kind: Decoder(kind) for kind in RecordKind}
GOOD = {
    RecordKind.TRADES: TRADE,
    RecordKind.QUOTES: QUOTE,
    RecordKind.REFERENCE_DATA: INSTRUMENT,
    RecordKind.FEED_EVENTS: EVENT,
}
EXACT = Context(prec=60)
ORACLES = {kind: RecordReader(kind.value) for kind in RecordKind}
TELLING_BYTES = st.sampled_from([0, 1, 2, 3, 4, 6, 0x7F, 0x80, 0x81, 0xFF]) | st.integers(0, 255)
# The first 32 bytes of a body are hit as often as all others: lengths stand in front.
PLACES = st.integers(FRAME_BYTES, 37) | st.integers(FRAME_BYTES, 400)


def damaged(value, edits):
    data = bytearray(value)
    for action, place, piece in edits:
        at = min(place, len(data))
        if action == "set":
            data[at : at + len(piece)] = piece
        elif action == "insert":
            data[at:at] = piece
        else:
            del data[at : at + len(piece)]
    return bytes(data)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete"]),
        PLACES,
        st.lists(TELLING_BYTES, min_size=1, max_size=6).map(bytes),
    ),
    min_size=1,
    max_size=4,
)


def base_records(kind):
    return [
        case.value
        for case in CORPORA[kind.value]
        if case.verdict is Verdict.ACCEPT and case.value and len(case.value) < 400
    ]


@pytest.mark.parametrize("kind", RecordKind)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_record_gets_the_same_verdict_alone_and_among_others(kind, data):
    values = [
        damaged(data.draw(st.sampled_from(base_records(kind))), data.draw(EDITS))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    alone = [DECODERS[kind].decode([value]) for value in values]
    whole = DECODERS[kind].decode([good_record(kind.value), *values, good_record(kind.value)])
    stop = next((at for at, one in enumerate(alone) if one.unresolved is not None), None)
    judged = alone if stop is None else alone[:stop]
    accepted = [at for at, one in enumerate(judged, start=1) if len(one.rows)]
    behind = [len(values) + 1] if stop is None else []
    assert whole.index.tolist() == [0, *accepted, *behind]
    assert [(reject.index, reject.reason) for reject in whole.rejects] == [
        (at, one.rejects[0].reason) for at, one in enumerate(judged, start=1) if one.rejects
    ]
    for row, at in enumerate(accepted, start=1):
        assert whole.rows.row(row) == alone[at - 1].rows.row(0)


@pytest.mark.parametrize("kind", RecordKind)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_record_gets_the_oracles_verdict_and_values(kind, data):
    value = damaged(data.draw(st.sampled_from(base_records(kind))), data.draw(EDITS))
    decoded = DECODERS[kind].decode([value])
    try:
        expected = ORACLES[kind].read(value)
    except SchemaUnknown:
        assert decoded.unresolved is not None
        return
    except Refused:
        assert not len(decoded.rows)
        return
    assert not decoded.rejects
    row = decoded.rows.with_columns(
        column.to_physical() for column in decoded.rows.iter_columns() if column.dtype.is_temporal()
    ).row(0)
    assert [
        int(found.scaleb(10, context=EXACT)) if isinstance(found, Decimal) else found for found in row
    ] == expected


def numbers(least, greatest):
    """In as many bytes as needed, or in ten."""
    return st.builds(
        lambda number, wide: padded(long(number), 10) if wide and len(long(number)) < 10 else long(number),
        st.integers(least, greatest),
        st.booleans(),
    )


def values_of(avro_type):
    """Bytes of a valid value."""
    match avro_type:
        case "string":
            return st.text(max_size=20).map(text)
        case {"type": "bytes"}:
            return st.integers(-(10**28) + 1, 10**28 - 1).map(decimal)
        case {"type": "enum", "symbols": symbols}:
            return numbers(0, len(symbols) - 1)
        case {"type": "array", "items": items}:
            return st.lists(values_of(items), max_size=3).map(lambda items: array(*items))
        case {"type": "record", "fields": fields}:
            return st.tuples(*(values_of(field["type"]) for field in fields)).map(b"".join)
        case {"logicalType": "timestamp-micros"}:
            return numbers(0, LATEST_US)
        case {"logicalType": "date"}:
            return numbers(-719_162, 2_932_896)
        case "int":
            return numbers(-(2**31), 2**31 - 1)
        case "long":
            return numbers(0, 2**63 - 1)
        case [_, value_type]:
            return numbers(0, 0) | st.tuples(numbers(1, 1), values_of(value_type)).map(b"".join)
    raise AssertionError(avro_type)


@st.composite
def records(draw, kind):
    """A valid record: what makes it one of a known feed is a corpus record's, the rest is anything."""
    kept = {"exchange", "market", "feed", "symbol", "event_id", "source_sequence"} & GOOD[kind].keys()
    fields = {
        field["name"]: GOOD[kind][field["name"]] if field["name"] in kept else draw(values_of(field["type"]))
        for field in avro_schema(kind)["fields"]
    }
    return frame(FIXED_SCHEMA_IDS[kind], fields)


def is_accepted(kind, value):
    try:
        ORACLES[kind].read(value)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("kind", RecordKind)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_changed_byte_of_a_valid_record_gets_the_oracles_verdict(kind, data):
    good = data.draw(records(kind))
    places = st.integers(FRAME_BYTES, len(good) - 1)
    changes = data.draw(st.lists(st.tuples(places, TELLING_BYTES), min_size=10, max_size=40))
    changed = [good[:place] + bytes([byte]) + good[place + 1 :] for place, byte in changes]
    decoded = DECODERS[kind].decode([good, *changed])
    assert decoded.index.tolist() == [
        0,
        *(at for at, value in enumerate(changed, start=1) if is_accepted(kind, value)),
    ]
    assert len(decoded.rows) + len(decoded.rejects) == len(changed) + 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
@example(b"\x00\x00\x00\x00\x01" + b"\x00" * 500)
@example(b"\x00\x00\x00\x00\x01" + b"\xff" * 500)
def test_any_bytes_get_a_verdict(data):
    decoded = DECODERS[RecordKind.TRADES].decode([data])
    assert len(decoded.rows) + len(decoded.rejects) + (decoded.unresolved is not None) == 1
