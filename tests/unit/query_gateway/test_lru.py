"""The cache never holds more than its limit, and forgets what was used longest ago."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamark.query_gateway.lru import Lru

OPERATIONS = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 12)), max_size=40)


@given(st.integers(0, 20), OPERATIONS)
def test_it_is_a_list_by_last_use_cut_at_the_limit(limit, operations):
    cache: Lru[int, int] = Lru(limit)
    model: list[tuple[int, int]] = []  # (key, weight), last used last
    for key, weight in operations:
        known = dict(model)
        if weight is None:
            assert cache.get(key) == known.get(key)
            if key in known:
                model = [one for one in model if one[0] != key] + [(key, known[key])]
            continue
        cache.put(key, weight, weight)
        model = [one for one in model if one[0] != key]
        if weight <= limit:
            model.append((key, weight))
        while sum(one for _, one in model) > limit:
            model.pop(0)
        assert cache.held == sum(one for _, one in model)
