"""Rows of a range and a predicate: what the tail gives is what a look at every row would."""

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import Clock, Comparison, Filter, Predicate, PredicateInvalid, filter_of
from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.frames import decode, encode
from seamark.stream.rows import with_stream
from seamark.tail_cache import blocks, reading
from seamark.tail_cache.blocks import resident
from seamark.tail_cache.partition import PartitionTail
from seamark.tail_cache.reading import Asked, Reader, cover
from seamark.tail_cache.spill import SpillFolder
from twins.nearest import enough
from unit.tail_cache.observed import (
    KIND,
    NOTHING,
    RECORDS,
    START_US,
    SYMBOLS,
    TOPIC,
    WHERE,
    between,
    observed,
)
from unit.tail_cache.world import in_order

NAMES = row_schema(KIND).names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return SpillFolder(tmp_path_factory.mktemp("spill"), 1 << 20)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """A few dozen rows are a full block here, so that a test has many of every sort."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FULL_ROWS", 150)
        for module in (blocks, reading):
            patch.setattr(module, "INDEXED_ROWS", 40)
        patch.setattr(reading, "FULL_ROWS", 150)
        yield


def new_tail(first: int = 0) -> PartitionTail:
    return PartitionTail(WHERE, TOPIC, NOTHING, first, first, 0, first, first)


def times() -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(START_US - 300_000, START_US + RECORDS * 1_000 + 9_000)


@st.composite
def predicates(draw) -> Predicate:
    from_us, to_us = draw(times()), draw(times())
    if from_us is not None and to_us is not None and from_us >= to_us:
        from_us, to_us = to_us - 1, from_us
    filters = draw(
        st.lists(
            st.sampled_from(
                [
                    filter_of(KIND, "side", Comparison.EQ, ("BUY",)),
                    filter_of(KIND, "price", Comparison.GT, ("50",)),
                    filter_of(KIND, "vendor_data", Comparison.NE, ("x",)),
                    filter_of(KIND, "source_sequence", Comparison.IN, ("5", "77", "901")),
                    filter_of(KIND, "kafka_partition", Comparison.LE, ("0",)),
                    filter_of(KIND, "asset_class", Comparison.EQ, ("crypto",)),
                ]
            ),
            max_size=2,
        )
    )
    return Predicate(
        tuple(draw(st.lists(st.sampled_from((*SYMBOLS, "NONE")), max_size=3, unique=True))),
        draw(st.sampled_from(Clock)),
        from_us,
        to_us,
        tuple(filters),
        draw(times()),
    )


def naive(first: int, next_: int, predicate: Predicate, columns: list[str]) -> pl.DataFrame:
    rows = with_stream(between(first, next_), WHERE, TOPIC.topic)
    if (expression := predicate.expression()) is not None:
        rows = rows.filter(expression)
    return rows.select(columns or NAMES).with_columns(pl.col(pl.Categorical).cast(pl.String))


def answer(reader: Reader, covered) -> pl.DataFrame:
    """Over the wire's frames, as a gateway gets it."""
    batches = list(decode(encode(reader.schema, reader.batches(covered))))
    rows = pl.DataFrame(pa.Table.from_batches(batches, reader.schema))
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_read_after_any_history_equals_a_look_at_every_row(folder, data):
    tail = new_tail()
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(("append", "append", "append", "evict", "spill")))
        if step == "append":
            next_ = min(RECORDS, tail.hi + data.draw(st.sampled_from((1, 3, 20, 120, 500))))
            tail.append(resident(tail.hi, next_, between(tail.hi, next_)), [], 0)
        elif step == "evict":
            tail._verified = NOTHING.advanced(tail.hi, 0, 0, NOTHING.counters)
            tail.evict_below(data.draw(st.integers(tail.lo, tail.hi)))
        else:
            for block in tail.blocks:
                if block.rows.count and data.draw(st.booleans()):
                    tail.replace(block, folder.spill(block))
    view = tail.view()
    for _ in range(2):
        first = data.draw(st.integers(0, RECORDS))
        next_ = data.draw(st.none() | st.integers(first, RECORDS))
        predicate = data.draw(predicates())
        columns = data.draw(st.just([]) | st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
        columns = [*columns, "kafka_offset"] if columns and "kafka_offset" not in columns else columns
        covered = cover(Asked(WHERE, first, next_), view)
        asked_next = view.hi if next_ is None else next_
        expected_first, expected_next = max(first, view.lo), min(asked_next, view.hi)
        if expected_first < expected_next:
            assert (covered.first, covered.next) == (expected_first, expected_next)
        else:
            assert covered.first == covered.next
        got = answer(Reader(KIND, columns, predicate), [covered])
        expected = naive(covered.first, covered.next, predicate, columns)
        assert_frame_equal(got.sort("kafka_offset"), expected)

        nearest = data.draw(st.builds(Nearest, st.integers(1, 300), st.booleans(), times()))
        near = answer(Reader(KIND, [], predicate, nearest), [covered]).sort("kafka_offset")
        every = naive(covered.first, covered.next, predicate, [])
        assert_frame_equal(near, every.filter(pl.col("kafka_offset").is_in(near["kafka_offset"].implode())))
        assert set(enough(every, nearest)["kafka_offset"]) <= set(near["kafka_offset"])


@pytest.mark.parametrize("latest", [False, True])
def test_where_the_first_rows_are_wanted_few_others_are_given_however_many_match(latest):
    tail = new_tail()
    for first in range(0, RECORDS, 150):
        next_ = min(RECORDS, first + 150)
        tail.append(resident(first, next_, between(first, next_)), [], 0)
    covered = cover(Asked(WHERE, 0), tail.view())
    every = naive(0, RECORDS, Predicate(), [])
    assert len(every) > 500
    given_ = answer(Reader(KIND, ["timestamp", "price"], Predicate(), Nearest(5, latest)), [covered])
    assert 5 <= len(given_) < 150
    ends = every["timestamp"].sort(descending=latest)[:5]
    assert ends.is_in(given_["timestamp"].implode()).all()


@pytest.mark.parametrize(
    ("first", "next_", "covered"),
    [
        (100, 200, (100, 200)),  # held
        (50, 200, (100, 200)),  # partly evicted
        (150, 400, (150, 300)),  # partly not reached
        (0, None, (100, 300)),
        (0, 80, (80, 80)),  # all evicted: nothing, and the asker sees that it lacks [0, 80)
        (350, 400, (350, 350)),  # nothing of it reached
        (350, None, (350, 350)),
    ],
)
def test_coverage_says_what_is_given_and_nothing_more(first, next_, covered):
    tail = new_tail(100)
    tail.append(resident(100, 300, between(100, 300)), [], 0)
    part = cover(Asked(WHERE, first, next_), tail.view())
    assert (part.first, part.next) == covered


def test_a_partition_that_is_not_held_covers_nothing():
    part = cover(Asked(StreamPartition(9, 9), 5, 10), None)
    assert (part.view, part.first, part.next) == (None, 5, 5)
    assert list(Reader(KIND, [], Predicate()).batches([part])) == []


def test_a_view_stays_as_it_was_while_the_tail_goes_on():
    tail = new_tail()
    tail.append(resident(0, 200, between(0, 200)), [], 0)
    view = tail.view()
    tail.append(resident(200, 400, between(200, 400)), [], 0)
    tail._verified = NOTHING.advanced(400, 0, 0, NOTHING.counters)
    tail.evict_below(400)
    got = answer(Reader(KIND, [], Predicate()), [cover(Asked(WHERE, 0), view)])
    assert_frame_equal(got.sort("kafka_offset"), naive(0, 200, Predicate(), []))


@pytest.mark.parametrize("kind", RecordKind)
def test_the_schema_is_that_of_rows_with_text_that_repeats_as_dictionaries(kind):
    schema = Reader(kind, [], Predicate()).schema
    contract = row_schema(kind)
    assert schema.names == contract.names
    table = schema.empty_table()
    plain = in_order(table.to_batches(), kind)
    assert dict(plain.schema) == dict(pl.DataFrame(contract.empty_table()).schema)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["pryce"], "column was 'pryce', must be one of stream_id"),
        (["price", "price"], "must be named once each"),
    ],
)
def test_columns_that_rows_do_not_have_or_named_twice_are_refused(columns, said):
    with pytest.raises(PredicateInvalid, match=said):
        Reader(KIND, columns, Predicate())


def test_a_filter_on_a_column_that_all_rows_share_is_asked_of_them():
    tail = new_tail()
    tail.append(resident(0, RECORDS, observed()), [], 0)
    nothing = Predicate(filters=(Filter("stream_id", Comparison.EQ, (2,)),))
    assert list(Reader(KIND, ["price"], nothing).batches([cover(Asked(WHERE, 0), tail.view())])) == []
