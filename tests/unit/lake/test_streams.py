"""The registry of streams, and which of them take rows."""

import pytest

from seamark.lake.errors import CheckpointInvalid
from seamark.lake.streams import Stream, chain, open_streams, streams_from_properties


def stream(number, succeeds=None, topic="market.crypto.trades.binance"):
    return Stream(number, "cluster", f"id-{number}", topic, 2, (0, 5), '{"a":"b"}', "hash", succeeds)


def registry(*streams):
    return {one.stream_id: one for one in streams}


def test_entries_read_back_among_other_properties():
    entries = registry(stream(1), stream(2, succeeds=1))
    properties = dict(one.to_property() for one in entries.values())
    assert streams_from_properties(properties | {"seamark.revision": "5"}) == entries


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"cluster_id":"c"}', '{"start":[]}'])
def test_an_entry_that_cannot_be_read_is_named(text):
    with pytest.raises(CheckpointInvalid, match=r"table property seamark\.stream\.4 was"):
        streams_from_properties({"seamark.stream.4": text})


def test_an_entry_with_a_field_more_or_of_no_number_is_named():
    _, text = stream(1).to_property()
    with pytest.raises(CheckpointInvalid, match=r"seamark\.stream\.1 was"):
        streams_from_properties({"seamark.stream.1": text.replace("{", '{"more":1,', 1)})
    with pytest.raises(CheckpointInvalid, match=r"seamark\.stream\.x was"):
        streams_from_properties({"seamark.stream.x": text})


def test_a_stream_has_one_start_a_partition():
    with pytest.raises(ValueError, match="start had 1 offsets, must have 2, one a partition"):
        Stream(1, "c", "i", "t", 2, (0,), "{}", "h")


def test_a_chain_is_all_that_a_stream_succeeds_oldest_first():
    streams = registry(stream(1), stream(2), stream(5, succeeds=1), stream(7, succeeds=5))
    assert chain(streams, 7) == (1, 5, 7)
    assert chain(streams, 2) == (2,)


@pytest.mark.parametrize(
    "streams",
    [
        registry(stream(7, succeeds=3)),
        registry(stream(7, succeeds=7)),
        registry(stream(3, succeeds=7), stream(7, succeeds=3)),
    ],
)
def test_a_chain_that_does_not_end_is_an_error(streams):
    with pytest.raises(CheckpointInvalid, match="stream 7 succeeds"):
        chain(streams, 7)


def test_a_stream_that_another_succeeds_takes_no_rows():
    streams = registry(stream(1), stream(2, topic="other"), stream(3, succeeds=1), stream(4, succeeds=3))
    assert set(open_streams(streams)) == {2, 4}
