"""What a running writer leaves in the state folder: files that something names, and no others for long."""

from __future__ import annotations

from integration.market import Feed, Market, wait_until
from seamark.lake.states import ObjectStateStore, named_states


def test_state_files_that_nothing_names_any_more_are_deleted(market: Market) -> None:
    feed = Feed(market)
    store = ObjectStateStore(market.settings["state_uri"], market.server.properties())
    settings = {"state_retention_seconds": 1, "target_snapshots": 2, "snapshot_min_age_seconds": 0}
    writer = market.start_reading(**settings)
    for _ in range(8):
        feed.send(20)
        market.drain(writer)
    uuid = market.view().uuid
    written = set(store.names(uuid))

    def only_named() -> bool:
        return set(store.names(uuid)) == named_states(market.view())

    wait_until(only_named, lambda: f"unnamed files go:\n{writer.log()}")
    assert len(written - named_states(market.view())) > 0, "there was something to delete"
    feed.send(20)
    market.drain(writer)
    assert writer.terminate() == 0, writer.log()
    market.judge(feed.distinct)
