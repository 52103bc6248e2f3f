"""A file of which parts are held reads like the file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamark.query_gateway.direct.ranges import PartialFile, joined

SIZE = 2_000_000
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)
PLACES = st.integers(0, SIZE - 1)
RANGES = st.lists(
    st.tuples(PLACES, st.integers(1, 50_000)).map(lambda one: (one[0], min(SIZE, one[0] + one[1]))),
    max_size=8,
)


@given(RANGES)
def test_requests_cover_every_range_once(ranges):
    requests = joined(ranges)
    for first, behind in ranges:
        assert any(start <= first and behind <= end for start, end in requests)
    for (_, end), (start, _) in zip(requests[:-1], requests[1:], strict=True):
        assert end < start


def test_near_ranges_are_one_request_and_far_ones_are_not():
    assert joined([(1_000_000, 1_000_010), (0, 10), (50_000, 50_010)]) == [
        (0, 50_010),
        (1_000_000, 1_000_010),
    ]


@given(RANGES, st.lists(st.tuples(PLACES, st.integers(-1, 60_000)), max_size=8))
def test_reads_give_what_is_in_the_file(ranges, reads):
    asked = []

    def fetch(first: int, length: int) -> bytes:
        asked.append((first, length))
        return CONTENT[first : first + length]

    file = PartialFile(SIZE, fetch, ranges)
    assert len(asked) == len(joined(ranges))
    for place, length in reads:
        file.seek(place)
        behind = SIZE if length < 0 else min(SIZE, place + length)
        assert bytes(file.read(length)) == CONTENT[place:behind]
        assert file.tell() == behind
    asked.clear()
    for first, behind in ranges:
        file.seek(first)
        assert bytes(file.read(behind - first)) == CONTENT[first:behind]
    assert asked == []
