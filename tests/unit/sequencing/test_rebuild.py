"""A state made from the accepted rows is the state that the fold left behind."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.sequencing.rebuild import HISTORY_COLUMNS, Rebuild
from seamark.sequencing.reroute import reroute
from seamark.sequencing.state import PartitionState
from unit.sequencing.first_occurrence import KEYS, SECOND_US, cut, histories, judged

SCHEMA = pa.schema(
    [
        ("stream_id", pa.int32()),
        ("kafka_partition", pa.int32()),
        ("exchange", pa.dictionary(pa.int32(), pa.string())),
        ("market", pa.string()),
        ("feed", pa.large_string()),
        ("symbol", pa.string()),
        ("source_sequence", pa.int64()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("id_epoch", pa.int32()),
    ]
)
KIND = st.sampled_from([RecordKind.TRADES, RecordKind.QUOTES])
HISTORY = histories(step_us=20 * SECOND_US)


def rows_of(stream_id, partition, records, epochs):
    """The accepted records as rows."""
    rows = []
    for (key, number, time_us), epoch in zip(records, epochs, strict=True):
        if epoch is not None:
            name = KEYS[key]
            place = (stream_id, partition, name.exchange, name.market, name.feed, name.symbol)
            rows.append((*place, number, time_us, epoch))
    return rows


def batches(rows, random, cuts):
    """Rows in any order, as batches of any size."""
    random.shuffle(rows)
    for part in cut(rows, cuts):
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*part, strict=True), SCHEMA, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def test_the_columns_asked_of_history_are_those_used():
    assert tuple(SCHEMA.names) == HISTORY_COLUMNS


@settings(max_examples=150, deadline=None)
@given(KIND, HISTORY, st.randoms(), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 2**53))
def test_the_state_of_one_stream_is_made_from_its_rows_in_any_order(kind, records, random, cuts, append_us):
    epochs, folded = judged(PartitionState(append_us), kind, records)
    rebuild = Rebuild(kind, 1, lambda symbol: 99)
    for batch in batches(rows_of(1, 3, records, epochs), random, cuts):
        rebuild.add(batch)
    assert rebuild.state(3, append_us) == folded
    assert rebuild.state(99, append_us) == PartitionState(append_us)


@settings(max_examples=80, deadline=None)
@given(st.data(), KIND, st.randoms())
def test_the_state_of_a_chain_of_streams_is_made_from_all_their_rows(data, kind, random):
    """Any partition may have taken any symbol: a wrong producer must not break a rebuild."""
    rows, states = [], [PartitionState()]
    streams = data.draw(st.integers(2, 3))
    for stream_id in range(1, streams + 1):
        partitions = data.draw(st.integers(1, 3))
        homes = {key.symbol: data.draw(st.integers(0, partitions - 1)) for key in KEYS}
        states = reroute(states, partitions, homes.__getitem__)
        for partition in range(partitions):
            records = data.draw(HISTORY)
            epochs, states[partition] = judged(states[partition], kind, records)
            rows += rows_of(stream_id, partition, records, epochs)
    rebuild = Rebuild(kind, streams, homes.__getitem__)
    for batch in batches(rows, random, [10, 30]):
        rebuild.add(batch)
    assert [rebuild.state(partition, 0) for partition in range(partitions)] == states
