"""Whatever bytes a record has: a verdict, the same alone and among others, and no wrong values."""

from decimal import Context, Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corpus.corpora import CORPORA, good_record
from corpus.wire import Verdict
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder
from seamark.stream.wire import FRAME_BYTES
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown

DECODERS = {kind: Decoder(kind) for kind in RecordKind}
EXACT = Context(prec=60)
ORACLES = {kind: RecordReader(kind.value) for kind in RecordKind}
TELLING_BYTES = st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xFF]) | st.integers(0, 255)
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
    assert [reject.index for reject in whole.rejects] == [
        at for at, one in enumerate(judged, start=1) if one.rejects
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
    except Refused as refused:
        # polars-avro takes any branch of a union but the first for the value's.
        assert not len(decoded.rows) or "union branch" in str(refused)
        return
    assert not decoded.rejects
    row = decoded.rows.with_columns(
        column.to_physical() for column in decoded.rows.iter_columns() if column.dtype.is_temporal()
    ).row(0)
    assert [
        int(found.scaleb(10, context=EXACT)) if isinstance(found, Decimal) else found for found in row
    ] == expected


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
@example(b"\x00\x00\x00\x00\x01" + b"\x00" * 500)
@example(b"\x00\x00\x00\x00\x01" + b"\xff" * 500)
def test_any_bytes_get_a_verdict(data):
    decoded = DECODERS[RecordKind.TRADES].decode([data])
    assert len(decoded.rows) + len(decoded.rejects) + (decoded.unresolved is not None) == 1
