"""Which snapshots go: old ones, few at a time, and none that a reader may still come through."""

from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.consumer_writer.expiry import ExpiryPolicy, expirable
from seamark.lake.view import SnapshotView, TableView

NOW_MS = 10_000_000
OLD_MS = NOW_MS - 900_000
OWN, REPLACE, FOREIGN = "own", "replace", "foreign"
POLICY = ExpiryPolicy(target_snapshots=1)


def table(*made, head=None, refs=(), age_ms=1_000_000, parents=None):
    """Snapshots 1, 2, … one a millisecond, each on the one before unless `parents` says else."""
    snapshots = {}
    for number, by in enumerate(made, start=1):
        snapshots[number] = SnapshotView(
            number,
            (parents or {}).get(number, number - 1 or None),
            NOW_MS - age_ms + number,
            "replace" if by is REPLACE else "append",
            "0" if by is OWN else None,
        )
    return TableView("u", head or len(made), {}, snapshots, frozenset(refs), "0.0", None)


def test_a_table_at_its_target_loses_nothing():
    for count in range(60):
        assert expirable(table(*[OWN] * count), ExpiryPolicy(), NOW_MS) == ()
    assert expirable(table(*[OWN] * 60), ExpiryPolicy(), NOW_MS) == (1,)


def test_the_oldest_go_first_and_at_most_ten_at_a_time():
    assert expirable(table(*[OWN] * 65), ExpiryPolicy(), NOW_MS) == (1, 2, 3, 4, 5, 6)
    assert expirable(table(*[OWN] * 200), ExpiryPolicy(), NOW_MS) == tuple(range(1, 11))


def test_nothing_younger_than_the_minimum_age_goes():
    assert expirable(table(*[OWN] * 5, age_ms=900_003), POLICY, NOW_MS) == (1, 2)
    assert expirable(table(*[OWN] * 5, age_ms=1_000), POLICY, NOW_MS) == ()


def test_nothing_that_a_branch_or_tag_names_goes():
    assert expirable(table(*[OWN] * 5, refs={2, 5}), POLICY, NOW_MS) == (1, 3, 4)


def test_the_head_stays_even_if_it_is_the_oldest():
    assert expirable(table(*[OWN] * 3, head=1), POLICY, NOW_MS) == (2, 3)


def test_the_way_from_the_head_to_its_checkpoint_stays():
    assert expirable(table(OWN, OWN, REPLACE, REPLACE), POLICY, NOW_MS) == (1,)
    assert expirable(table(OWN, OWN, FOREIGN, REPLACE), POLICY, NOW_MS) == (1,)


def test_the_way_from_a_tagged_replace_to_its_checkpoint_stays():
    made = (OWN, OWN, REPLACE, REPLACE, OWN, OWN)
    assert expirable(table(*made, refs={4}), POLICY, NOW_MS) == (1, 5)
    assert set(expirable(table(*made), POLICY, NOW_MS)) == {1, 2, 3, 4, 5}


def test_tagged_replaces_do_not_keep_younger_snapshots_from_going():
    made = [OWN, REPLACE] * 12 + [OWN] * 20
    refs = {number for number in range(1, 25) if number % 2 == 0}
    assert expirable(table(*made, refs=refs), POLICY, NOW_MS) == tuple(range(25, 35))


def test_a_row_of_replaces_longer_than_a_commit_takes_goes_over_several_commits():
    view = table(OWN, *[REPLACE] * 25, OWN)
    gone: list[int] = []
    while going := expirable(view, POLICY, NOW_MS):
        assert len(going) <= 10
        gone += going
        left = {number: one for number, one in view.snapshots.items() if number not in going}
        for snapshot in left.values():
            assert snapshot.operation != "replace" or view.path_to_own(snapshot.snapshot_id)[-1] in left
        view = TableView("u", 27, {}, left, frozenset(), "0.0", None)
    assert sorted(gone) == list(range(1, 27))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_kept_replace_keeps_its_way_and_the_policy_holds(data):
    made = data.draw(st.lists(st.sampled_from([OWN, REPLACE, FOREIGN]), min_size=1, max_size=30))
    # Branches: a table that was rolled back has two children of one snapshot.
    parents = {
        number: data.draw(st.integers(max(1, number - 3), number - 1)) for number in range(2, len(made) + 1)
    }
    view = table(
        *made,
        head=data.draw(st.integers(1, len(made))),
        refs=data.draw(st.sets(st.integers(1, len(made)), max_size=3)),
        age_ms=data.draw(st.sampled_from([900_000 + 10, 1_000_000])),
        parents=parents,
    )
    policy = ExpiryPolicy(data.draw(st.integers(1, 20)), data.draw(st.integers(1, 10)))
    going = expirable(view, policy, NOW_MS)
    assert len(set(going)) == len(going) <= policy.per_commit
    assert not going or len(view.snapshots) + 1 - len(going) >= policy.target_snapshots
    kept = set(view.snapshots) - set(going)
    assert kept >= {view.head_id, *view.referenced}
    assert all(view.snapshots[number].timestamp_ms < OLD_MS for number in going)
    for number in kept:
        if number == view.head_id or view.snapshots[number].operation == "replace":
            assert set(view.path_to_own(number)) <= kept
