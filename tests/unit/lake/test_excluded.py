"""Shed and lost ranges: few in the property, many in a file that the cleanup knows."""

from dataclasses import replace

import pytest

from seamark.lake import excluded
from seamark.lake.checkpoint import EXCLUDED, ExcludedRange, StreamPartition
from seamark.lake.errors import CheckpointInvalid
from seamark.lake.states import named_states
from twins.lake import MemoryStates, MemoryTable

WHERE = StreamPartition(1, 0)
MANY = [ExcludedRange(WHERE, 10 * n, 10 * n + 5, "LOST", 0) for n in range(1_000)]


def test_few_ranges_stand_in_the_text_itself():
    store = MemoryStates()
    text = excluded.with_more("", MANY[:2], 7, "uuid", store)
    assert not store.files
    assert excluded.ranges(text, store) == tuple(replace(gone, revision=7) for gone in MANY[:2])


def test_many_ranges_stand_in_a_file_and_grow_there():
    store = MemoryStates()
    text = ""
    for number, gone in enumerate(MANY, 1):
        text = excluded.with_more(text, [gone], number, "uuid", store)
        assert len(text) <= excluded.INLINE_BYTES
    assert excluded.ranges(text, store) == tuple(
        replace(gone, revision=number) for number, gone in enumerate(MANY, 1)
    )


def test_the_file_is_named_while_a_property_or_a_kept_summary_names_it():
    table, store = MemoryTable(), MemoryStates()
    text = excluded.with_more("", MANY, 1, table.uuid, store)
    (name,) = store.files
    assert name.startswith(f"{table.uuid}/")
    assert name not in named_states(table.load())
    table.properties[EXCLUDED] = text
    assert name in named_states(table.load())
    del table.properties[EXCLUDED]
    table._add("append", (), {EXCLUDED: text})
    assert name in named_states(table.load())


def test_a_file_that_is_gone_is_said():
    with pytest.raises(CheckpointInvalid, match="excluded ranges: no state file u/excluded/1"):
        excluded.ranges("file:u/excluded/1", MemoryStates())
