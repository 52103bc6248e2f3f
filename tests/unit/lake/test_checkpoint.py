"""A checkpoint reads back as it was written, or says what cannot be read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import (
    Checkpoint,
    Counters,
    ExcludedRange,
    StreamPartition,
    excluded_from_text,
    excluded_to_text,
    from_properties,
    from_summary,
    property_name,
    to_properties,
    to_summary,
)
from seamark.lake.errors import CheckpointInvalid

UUID = "0191d6f4-5f2e-7cc3-9c51-8e2f4f3a6a10"
COUNT = st.integers(0, 2**63 - 1)
PLACES = st.builds(StreamPartition, st.integers(0, 10_000), st.integers(0, 10_000))
POINTS = st.builds(
    Checkpoint,
    next=COUNT,
    leader_epoch=st.integers(-1, 2**31 - 1),
    batch_id=st.text("0123456789abcdef", min_size=20, max_size=20),
    attempt=st.integers(1, 10**6),
    append_us=COUNT,
    counters=st.builds(Counters, COUNT, COUNT, COUNT, COUNT, COUNT),
)
VECTORS = st.dictionaries(PLACES, POINTS, max_size=5)

WHERE = StreamPartition(3, 14)
POINT = Checkpoint(1_000, 7, "00112233445566778899", 2, 1_723_161_255_342_000, Counters(900, 60, 30, 8, 2))


@settings(max_examples=100, deadline=None)
@given(VECTORS)
def test_properties_read_back(points):
    assert from_properties(to_properties(points, UUID) | {"write.format.default": "parquet"}) == points


@settings(max_examples=100, deadline=None)
@given(VECTORS, COUNT)
def test_a_summary_reads_back(points, revision):
    assert from_summary(to_summary(points, revision)) == (points, revision)


@settings(max_examples=20, deadline=None)
@given(VECTORS, st.randoms())
def test_a_summary_is_the_same_whatever_the_order(points, random):
    items = list(points.items())
    random.shuffle(items)
    assert to_summary(dict(items), 1) == to_summary(points, 1)


def test_a_property_names_everything_a_reader_needs():
    (text,) = to_properties({WHERE: POINT}, UUID).values()
    assert json.loads(text) == {
        "next": 1_000,
        "leader_epoch": 7,
        "batch_id": "00112233445566778899",
        "written": 900,
        "duplicate": 60,
        "dlq": 30,
        "shed": 8,
        "lost": 2,
        "kafka_timestamp_us": 1_723_161_255_342_000,
        "state": f"{UUID}/00112233445566778899/2",
    }


def test_a_summary_stays_below_a_hundred_bytes_a_partition():
    """After 10^11 records in each of 64 partitions, with nothing left to be zero."""
    point = Checkpoint(
        100_000_000_000,
        1_000,
        "00112233445566778899",
        123,
        1_723_161_255_342_000,
        Counters(97_000_000_000, 2_999_000_000, 900_000, 50_000, 50_000),
    )
    point.check_accounts(WHERE, 0)
    places = [StreamPartition(12, partition) for partition in range(64)]
    assert len(to_summary(dict.fromkeys(places, point), 1_000)) <= 100 * len(places)


@pytest.mark.parametrize("field", ["written", "duplicate", "dlq", "shed", "lost"])
def test_an_offset_not_accounted_for_is_an_error(field):
    POINT.check_accounts(WHERE, 0)
    one_more = Counters(**{field: 1})
    wrong = POINT.advanced(POINT.next, 7, POINT.append_us, one_more)
    with pytest.raises(CheckpointInvalid, match=r"checkpoint 3\.14: next 1000 . start 0 = 1000"):
        wrong.check_accounts(WHERE, 0)
    POINT.advanced(POINT.next + 1, 7, POINT.append_us, one_more).check_accounts(WHERE, 0)
    with pytest.raises(CheckpointInvalid):
        POINT.check_accounts(WHERE, 1)


GOOD = json.loads(to_properties({WHERE: POINT}, UUID)[property_name(WHERE)])


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", '"text"', "{", "{}"]
    + [json.dumps({key: value for key, value in GOOD.items() if key != name}) for name in GOOD]
    + [json.dumps(GOOD | {name: None}) for name in GOOD]
    + [json.dumps(GOOD | {name: "5"}) for name in GOOD if name not in ("batch_id", "state")]
    + [json.dumps(GOOD | {name: 1.5}) for name in ("next", "written", "kafka_timestamp_us")]
    + [json.dumps(GOOD | {"next": True}), json.dumps(GOOD | {"batch_id": 5})]
    + [json.dumps(GOOD | {"state": state}) for state in ("", "a/b/c", "a", 5)],
)
def test_a_property_that_cannot_be_read_is_named(text):
    with pytest.raises(CheckpointInvalid, match=r"table property seamark\.checkpoint\.3\.14 was "):
        from_properties({property_name(WHERE): text})


@pytest.mark.parametrize("name", ["", "3", "3.", ".14", "3.14.15", "a.b"])
def test_a_property_of_no_partition_is_named(name):
    with pytest.raises(CheckpointInvalid, match=r"table property seamark\.checkpoint\."):
        from_properties({f"seamark.checkpoint.{name}": json.dumps(GOOD)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "!",
        "1;",
        "1;1,2",
        to_summary({WHERE: POINT}, 1) + ",5",
        "-" + to_summary({WHERE: POINT}, 1)[1:],
    ]
    + [to_summary({WHERE: POINT}, 1)[:length] for length in (10, 40)],
)
def test_a_summary_that_cannot_be_read_is_named(text):
    with pytest.raises(CheckpointInvalid, match=r"snapshot summary seamark\.checkpoint was"):
        from_summary(text)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(ExcludedRange, PLACES, COUNT, COUNT, st.sampled_from(["SHED", "LOST"]), COUNT)))
def test_excluded_ranges_read_back(ranges):
    assert excluded_from_text(excluded_to_text(ranges)) == tuple(ranges)


def test_no_text_is_no_excluded_range():
    assert excluded_from_text(None) == excluded_from_text("") == excluded_from_text("[]") == ()


@pytest.mark.parametrize(
    "text",
    ["x", "null", "5", "{}", '{"a":1}', "[5]", "[[1,2]]", '[[1,2,"3",4,"LOST",1]]', "[[1,2,3,4,5,1]]"],
)
def test_excluded_ranges_that_cannot_be_read_are_named(text):
    with pytest.raises(CheckpointInvalid, match=r"table property seamark\.excluded was"):
        excluded_from_text(text)
