"""Framing and the fixed schema ids."""

import pytest

from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.wire import EARLIER_SCHEMAS, FIXED_SCHEMA_IDS, FRAME_BYTES, fixed_schema, frame_prefix


def test_the_prefix_is_a_zero_byte_and_the_id_in_big_endian():
    assert frame_prefix(1) == b"\x00\x00\x00\x00\x01"
    assert frame_prefix(0x01020304) == b"\x00\x01\x02\x03\x04"
    assert len(frame_prefix(2**32 - 1)) == FRAME_BYTES


@pytest.mark.parametrize("schema_id", [-1, 2**32])
def test_an_id_that_four_bytes_cannot_hold_is_refused(schema_id):
    with pytest.raises(OverflowError):
        frame_prefix(schema_id)


def test_fixed_ids_are_never_given_anew():
    # Bytes with these ids are in logs already: a change here is a change of their meaning.
    assert dict(FIXED_SCHEMA_IDS) == {
        RecordKind.TRADES: 1,
        RecordKind.QUOTES: 2,
        RecordKind.REFERENCE_DATA: 3,
        RecordKind.FEED_EVENTS: 5,
    }
    assert list(EARLIER_SCHEMAS) == [4]


def test_every_fixed_id_leads_to_its_schema_and_no_other_does():
    assert all(fixed_schema(number) is avro_schema(kind) for kind, number in FIXED_SCHEMA_IDS.items())
    assert not EARLIER_SCHEMAS.keys() & set(FIXED_SCHEMA_IDS.values())
    assert fixed_schema(0) is None
    assert fixed_schema(max(FIXED_SCHEMA_IDS.values()) + 1) is None


def kinds_of(schema):
    (kind,) = (field for field in schema["fields"] if field["name"] == "kind")
    return kind["type"]["symbols"]


def test_what_is_written_now_says_all_that_was_written_before_and_in_the_same_places():
    """Enums by their number and fields by their order: else rows of old and new records would not be alike."""
    for schema_id in EARLIER_SCHEMAS:
        before, now = fixed_schema(schema_id), avro_schema(RecordKind.FEED_EVENTS)
        assert [field["name"] for field in before["fields"]] == [field["name"] for field in now["fields"]]
        assert kinds_of(now)[: len(kinds_of(before))] == kinds_of(before) != kinds_of(now)
