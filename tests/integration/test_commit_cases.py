"""Every way a commit can go wrong between writer and catalog: the rows are there exactly once, always.

The catalog and object store are real; the proxy between them and the writer gives the answers
that networks, gateways and restarts give. Each case is judged by the independent oracle.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from pyiceberg.table import Transaction

from integration.fault_proxy import RESET, Fault, FaultProxy, Point
from integration.market import Feed, Market, Spares, open_market, wait_until
from seamark.local.engines import CatalogServer, KafkaNode, TrinoServer
from seamark.market.schema import RecordKind
from seamark.query_gateway.pin import pin_head, pin_snapshot
from seamark.stream.topics import market_topic

CATALOG_TIMEOUT_SECONDS = 2
TRADES = "/trades"
"""Part of the path of every request that concerns the trades table."""


@pytest.fixture
def proxy(catalog_server: CatalogServer) -> Iterator[FaultProxy]:
    with FaultProxy(catalog_server.properties()) as between:
        yield between


@pytest.fixture
def market(
    kafka: KafkaNode, catalog_server: CatalogServer, spares: Spares, proxy: FaultProxy
) -> Iterator[Market]:
    with open_market(
        kafka, catalog_server, spares, proxy, catalog_timeout_seconds=CATALOG_TIMEOUT_SECONDS
    ) as opened:
        yield opened


class Running:
    """A market with a writer at work, shared by the cases that leave it at work."""

    def __init__(self, market: Market, proxy: FaultProxy) -> None:
        self.market, self.proxy = market, proxy
        self.writer = market.start_reading()
        self.feed = Feed(market)
        self.settle()

    def settle(self) -> None:
        """Some rows more, and everything in the table, exactly."""
        self.feed.send(50, repeats=0.05, poison=0.02)
        self.market.drain(self.writer)

    def last_commit(self) -> dict[str, object]:
        return [line for line in self.writer.said("committed") if line["table"] == "trades"][-1]

    def check(self) -> None:
        """As many rows as different trades were sent; the oracle looks at them all in the end."""
        assert self.market.table().scan().count() == self.feed.distinct

    def judge(self) -> None:
        figures = self.market.judge(self.feed.distinct)
        assert figures.refused == self.feed.poisoned


@pytest.fixture(scope="module")
def running(kafka: KafkaNode, catalog_server: CatalogServer, spares: Spares) -> Iterator[Running]:
    with (
        FaultProxy(catalog_server.properties()) as between,
        open_market(
            kafka, catalog_server, spares, between, catalog_timeout_seconds=CATALOG_TIMEOUT_SECONDS
        ) as opened,
    ):
        shared = Running(opened, between)
        yield shared
        shared.judge()


def append_nothing(market: Market) -> None:
    """Somebody else's append."""
    with market.table().transaction() as transaction, transaction.update_snapshot().fast_append():
        pass


def _arrived(fault: Fault) -> bool:
    """Rows can be seen in the table before the proxy has the catalog's answer that landed them."""
    return fault.arrived.wait(20)


ANSWERS = [200, 400, 401, 404, 409, 429, 500, 501, 502, 503, 504, RESET]
"""All with a body that is not the catalog's; 401 makes the client itself repeat the request."""


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_commit_that_landed_and_was_answered_otherwise_is_found_landed(running: Running, answer) -> None:
    fault = running.proxy.inject(Point.COMMIT_AFTER, answer, path_part=TRADES)
    before = running.market.view()
    running.feed.send(40)
    running.market.drain(running.writer)
    assert _arrived(fault) and fault.status == 200
    wait_until(lambda: running.last_commit()["attempts"] == 2, f"two attempts: {running.last_commit()}")
    assert len(running.market.view().snapshots) == len(before.snapshots) + 1, "it landed in one snapshot"
    running.check()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_commit_that_did_not_land_is_sent_again(running: Running, answer) -> None:
    fault = running.proxy.inject(Point.COMMIT_BEFORE, answer, path_part=TRADES)
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set() and fault.status is None
    attempts = 1 if answer == 401 else 2
    wait_until(lambda: running.last_commit()["attempts"] == attempts, f"{running.last_commit()}")
    running.check()


@pytest.mark.parametrize("point", [Point.COMMIT_BEFORE, Point.COMMIT_AFTER])
def test_a_commit_never_answered_is_given_up_and_resolved(running: Running, point) -> None:
    fault = running.proxy.inject(point, held=True, path_part=TRADES)
    running.feed.send(40)
    running.market.drain(running.writer)
    wait_until(lambda: running.last_commit()["attempts"] == 2, f"two attempts: {running.last_commit()}")
    # The request of the first attempt, which the writer gave up, reaches the catalog now.
    fault.release()
    assert fault.ended.wait(20)
    assert fault.status == (409 if point is Point.COMMIT_BEFORE else 200)
    running.settle()
    running.check()


def test_a_commit_sent_twice_by_the_network_is_refused_the_second_time(running: Running) -> None:
    fault = running.proxy.inject(Point.COMMIT_AFTER, path_part=TRADES)
    running.feed.send(40)
    running.market.drain(running.writer)
    assert _arrived(fault) and fault.status == 200
    head = running.market.view().head_id
    assert fault.replay() == 409
    assert running.market.view().head_id == head
    running.settle()
    running.check()


@pytest.mark.parametrize(
    ("point", "answer"),
    [
        (Point.LOAD_TABLE, 500),
        (Point.LOAD_TABLE, 503),
        (Point.LOAD_TABLE, RESET),
        (Point.DATA_FILE_PUT, 503),
        (Point.DATA_FILE_PUT, RESET),
        (Point.STATE_FILE_PUT, 503),
        (Point.MANIFEST_PUT, 503),
        (Point.MANIFEST_LIST_PUT, 503),
    ],
)
def test_a_commit_is_prepared_again_when_a_step_before_it_fails(running: Running, point, answer) -> None:
    path_part = TRADES if point is not Point.STATE_FILE_PUT else running.market.view().uuid
    # The store's client repeats by itself: only a longer outage reaches the writer.
    times = 2 if point is Point.LOAD_TABLE else 6
    fault = running.proxy.inject(point, answer, path_part=path_part, times=times)
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set()
    running.proxy.clear()
    running.check()


def test_the_file_of_a_failed_attempt_serves_the_next(running: Running) -> None:
    uploaded = running.proxy.hits(Point.DATA_FILE_PUT)
    running.proxy.inject(Point.COMMIT_BEFORE, 503, path_part=TRADES, times=3)
    running.feed.send(40)
    running.market.drain(running.writer)
    wait_until(lambda: running.last_commit()["attempts"] == 4, f"four attempts: {running.last_commit()}")
    assert running.proxy.hits(Point.DATA_FILE_PUT) == uploaded + 1
    running.check()


def test_a_foreign_property_between_load_and_commit_is_kept(running: Running) -> None:
    def set_property() -> None:
        with running.market.table().transaction() as transaction:
            transaction.set_properties({"owner": "somebody"})

    fault = running.proxy.inject(Point.DATA_FILE_PUT, call=set_property, path_part=TRADES)
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set()
    assert running.market.table().properties["owner"] == "somebody"
    running.check()


def test_a_foreign_snapshot_between_load_and_commit_is_built_upon(running: Running) -> None:
    fault = running.proxy.inject(
        Point.DATA_FILE_PUT, call=lambda: append_nothing(running.market), path_part=TRADES
    )
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set()
    wait_until(lambda: running.last_commit()["attempts"] == 2, f"two attempts: {running.last_commit()}")
    running.check()


@pytest.mark.parametrize("point", [Point.DATA_FILE_PUT, Point.COMMIT_BEFORE])
def test_a_table_maintained_between_load_and_commit_is_built_upon(running: Running, point) -> None:
    replaced: list[int] = []
    fault = running.proxy.inject(
        point, call=lambda: replaced.append(running.market.rewrite()), path_part=TRADES
    )
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set()
    view = running.market.view()
    assert view.snapshots[running.market.head()].parent_id == replaced[0]
    running.judge()


@pytest.mark.parametrize("point", [Point.DATA_FILE_PUT, Point.COMMIT_BEFORE])
def test_a_table_optimized_by_trino_between_load_and_commit_is_built_upon(
    running: Running, trino: TrinoServer, point
) -> None:
    for _ in range(2):  # at least two files of one partition: something to optimize
        running.settle()
    files = len(running.market.table().inspect.files())
    replaced: list[int] = []
    fault = running.proxy.inject(
        point, call=lambda: replaced.append(running.market.optimize(trino)), path_part=TRADES
    )
    running.feed.send(40)
    running.market.drain(running.writer)
    assert fault.arrived.is_set()
    view = running.market.view()
    assert view.snapshots[running.market.head()].parent_id == replaced[0]
    assert len(running.market.table().inspect.files()) < files
    running.judge()


def test_trino_that_optimizes_while_the_writer_commits_leaves_each_row_once(
    running: Running, trino: TrinoServer
) -> None:
    stop, done = threading.Event(), list[int]()

    def optimized() -> int:
        with suppress(LookupError):  # no commit since the last one
            done.append(running.market.optimize(trino))
        return len(done)

    with ThreadPoolExecutor(1) as beside:

        def feed_on() -> None:
            while not stop.is_set():
                running.feed.send(40, repeats=0.05)
                running.market.drain(running.writer)

        feeding = beside.submit(feed_on)
        try:
            wait_until(lambda: optimized() >= 3, "three optimizations")
        finally:
            stop.set()
        feeding.result()
    running.judge()


def test_maintenance_that_loses_the_race_leaves_the_rows_alone(running: Running) -> None:
    # The catalog decides between two heads, whoever they are: here the writer is first.
    table = running.market.table()
    running.settle()
    stale = Transaction(table, autocommit=False)
    producer = stale.update_snapshot().overwrite()
    for task in table.scan().plan_files():
        producer.delete_data_file(task.file)
    updates, requirements = producer._commit()
    with pytest.raises(Exception, match="(?i)requirement|conflict|changed|stale|branch"):
        running.market.catalog.commit_table(table, requirements, updates)
    running.judge()


def test_a_catalog_that_is_away_for_a_while_delays_and_loses_nothing(
    running: Running, catalog_server: CatalogServer
) -> None:
    catalog_server.kill()
    try:
        running.feed.send(200, repeats=0.05)
        failures = len(running.writer.said("commit attempt failed"))
        wait_until(
            lambda: len(running.writer.said("commit attempt failed")) > failures + 1,
            lambda: running.writer.log()[-2000:],
        )
    finally:
        catalog_server.start()
    running.market.drain(running.writer)
    running.settle()
    running.judge()


def test_a_catalog_that_hangs_for_a_while_delays_and_loses_nothing(
    running: Running, catalog_server: CatalogServer
) -> None:
    catalog_server.process.pause()
    try:
        running.feed.send(200, repeats=0.05)
        failures = len(running.writer.said("commit attempt failed"))
        wait_until(
            lambda: len(running.writer.said("commit attempt failed")) > failures,
            lambda: running.writer.log()[-2000:],
        )
    finally:
        catalog_server.process.resume()
    running.market.drain(running.writer)
    running.settle()
    running.judge()


# From here on each case has writers of its own, because it ends them or needs several.


def test_a_batch_that_landed_unseen_by_a_killed_writer_is_not_written_again(
    market: Market, proxy: FaultProxy
) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    fault = proxy.inject(Point.COMMIT_AFTER, RESET, call=writer.kill_soon, path_part=TRADES)
    feed.send(300, repeats=0.05)
    assert writer.wait() == -9
    assert fault.status == 200
    feed.send(100, repeats=0.05)
    successor = market.start_reading(consumer_group=f"{market.namespace}-2")
    market.drain(successor)
    market.judge(feed.distinct)


def test_a_killed_writers_commit_that_arrives_before_its_successors_fences_that(
    market: Market, proxy: FaultProxy
) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    delayed = proxy.inject(Point.COMMIT_BEFORE, held=True, path_part=TRADES)
    feed.send(300, repeats=0.05)
    assert delayed.arrived.wait(30)
    writer.kill()

    def arrive() -> None:
        delayed.release()
        assert delayed.ended.wait(20)

    # Its successor has read the same records from the same H and more, and is about to commit them.
    proxy.inject(Point.COMMIT_BEFORE, call=arrive, path_part=TRADES)
    feed.send(100, repeats=0.05)
    successor = market.start_reading(consumer_group=f"{market.namespace}-2")
    successor.await_said("fenced")
    assert delayed.status == 200
    feed.send(100, repeats=0.05)
    market.drain(successor)
    market.judge(feed.distinct)


def test_a_killed_writers_commit_that_arrives_after_its_successors_is_refused(
    market: Market, proxy: FaultProxy
) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    delayed = proxy.inject(Point.COMMIT_BEFORE, held=True, path_part=TRADES)
    feed.send(300, repeats=0.05)
    assert delayed.arrived.wait(30)
    writer.kill()
    successor = market.start_reading(consumer_group=f"{market.namespace}-2")
    market.drain(successor)
    delayed.release()
    assert delayed.ended.wait(20)
    assert delayed.status == 409
    feed.send(100, repeats=0.05)
    market.drain(successor)
    market.judge(feed.distinct)


def test_a_paused_writer_that_wakes_behind_its_successor_is_fenced_and_goes_on(
    market: Market, proxy: FaultProxy
) -> None:
    zombie = market.start_reading()
    feed = Feed(market)
    delayed = proxy.inject(Point.COMMIT_BEFORE, held=True, call=zombie.pause, path_part=TRADES)
    feed.send(300, repeats=0.05)
    assert delayed.arrived.wait(30)
    # The group gives its partitions away when it has not been heard of for the session's time.
    successor = market.start_reading()
    market.drain(successor)
    zombie.resume()
    delayed.release()
    assert delayed.ended.wait(20)
    assert delayed.status == 409
    zombie.await_said("lost")
    feed.send(300, repeats=0.05)
    market.drain(zombie, successor)
    market.judge(feed.distinct)


def test_two_writers_that_both_own_everything_write_everything_once(
    market: Market, proxy: FaultProxy
) -> None:
    # Two groups: neither writer is ever told of the other.
    writers = [market.start_reading(consumer_group=f"{market.namespace}-{n}") for n in (1, 2)]
    feed = Feed(market)
    for _ in range(6):
        feed.send(200, repeats=0.05, swaps=0.05, poison=0.01)
        market.drain(*writers)
    assert any(writer.said("fenced") for writer in writers)
    figures = market.judge(feed.distinct)
    assert figures.refused == feed.poisoned


def test_a_writer_paused_by_a_full_buffer_reads_on_after_a_rebalance(
    market: Market, proxy: FaultProxy
) -> None:
    writer = market.start_reading(flush_bytes=1024 * 1024)
    feed = Feed(market)
    held = proxy.inject(Point.COMMIT_BEFORE, held=True, path_part=TRADES, times=1000)
    wait_until(
        lambda: feed.send(5000, repeats=0.02) or writer.said("reading pauses, the buffer is full"),
        lambda: writer.log()[-2000:],
    )
    other = market.start(flush_bytes=1024 * 1024)
    wait_until(
        lambda: market.held_by(other) and market.held_by(other).isdisjoint(market.held_by(writer)),
        lambda: f"{writer.log()[-2000:]}\n{other.log()[-2000:]}",
    )
    held.release()
    proxy.clear()
    market.drain(writer, other)
    assert other.terminate() == 0, other.log()
    feed.send(500, repeats=0.02)
    market.drain(writer)
    market.judge(feed.distinct)


def test_a_writer_whose_catalog_is_away_while_it_is_assigned_reads_on_when_it_is_back(
    market: Market, proxy: FaultProxy
) -> None:
    # Its first load is that of the start: it would not go on without it.
    proxy.inject(Point.LOAD_TABLE, 503, path_part=TRADES, nth=2, times=2)
    writer = market.start()
    writer.await_said("assignment waits")
    feed = Feed(market)
    feed.send(300, repeats=0.02)
    market.drain(writer)
    market.judge(feed.distinct)


def test_several_owners_of_parts_of_a_table_all_commit(market: Market) -> None:
    writers = [market.start() for _ in range(2)]
    quotes = market_topic("crypto", RecordKind.QUOTES, market.exchange)

    def counts(topic: str) -> list[int]:
        return [len(market.held_by(writer, topic)) for writer in writers]

    wait_until(
        lambda: counts(market.topic) == counts(quotes) == [2, 2],
        lambda: f"half of trades and of quotes each: {counts(market.topic)}, {counts(quotes)}",
    )
    feed = Feed(market)
    for _ in range(5):
        feed.send(400, repeats=0.05, swaps=0.05, poison=0.01)
        market.drain(*writers)
    for writer in writers:
        assert len([line for line in writer.said("committed") if line["table"] == "trades"]) >= 3
        assert not writer.said("fenced")
    market.judge(feed.distinct)


def test_a_branch_rolled_back_stops_the_writer_until_its_head_is_adopted(market: Market) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    feed.send(200, repeats=0.05)
    market.drain(writer)
    target, reached = market.head(), market.checkpoints()
    feed.send(200, repeats=0.05)
    market.drain(writer)
    market.table().manage_snapshots().rollback_to_snapshot(target).commit()
    feed.send(100, repeats=0.05)
    assert writer.wait() == 1
    assert "rolled_back" in writer.log()
    assert f"adopt --at-snapshot {target}" in writer.log()
    refused = market.command("run")
    assert refused.exit_code == 1
    assert f"adopt --at-snapshot {target}" in refused.log()

    wrong = market.command("adopt", market.topic, "--at-snapshot", str(target + 1))
    assert wrong.exit_code == 1
    assert f"must be the head {target}" in wrong.log()
    adopted = market.command("adopt", market.topic, "--at-snapshot", str(target))
    assert adopted.exit_code == 0, adopted.log()
    assert market.view().revision == 2, "what was known of the table is not true of it any more"
    assert {p: point.next for p, point in market.checkpoints().items()} == {
        p: point.next for p, point in reached.items()
    }
    market.drain(market.start_reading())
    market.judge(feed.distinct)


def test_a_foreign_append_leaves_doubt_behind_every_commit_until_the_head_is_adopted(market: Market) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    feed.send(50)
    market.drain(writer)
    assert pin_head("trades", market.view()).doubt == ""
    append_nothing(market)
    foreign = f"changes by snapshot {market.head()}, which the writer did not make"
    assert foreign in pin_head("trades", market.view()).doubt

    feed.send(50)
    market.drain(writer)
    writer.await_said("foreign snapshot")
    assert writer.terminate() == 0, writer.log()
    head = market.head()
    assert foreign in pin_head("trades", market.view()).doubt
    assert foreign in pin_snapshot("trades", market.view(), head).doubt

    adopted = market.command("adopt", market.topic, "--at-snapshot", str(head))
    assert adopted.exit_code == 0, adopted.log()
    assert pin_head("trades", market.view()).doubt == ""
    writer = market.start_reading()
    feed.send(50)
    market.drain(writer)
    assert pin_head("trades", market.view()).doubt == ""
    market.judge(feed.distinct)


def test_snapshots_expire_in_the_writers_own_commits_and_named_ones_stay(market: Market) -> None:
    writer = market.start_reading(target_snapshots=4, snapshot_min_age_seconds=0)
    feed = Feed(market)
    feed.send(50)
    market.drain(writer)
    tagged = market.head()
    market.table().manage_snapshots().create_tag(tagged, "audit").commit()
    for round_ in range(8):
        feed.send(50, repeats=0.05)
        market.drain(writer)
        if round_ == 4:
            market.rewrite()
    snapshots = market.view().snapshots
    assert tagged in snapshots
    assert len(snapshots) <= 6, json.dumps({s.snapshot_id: s.operation for s in snapshots.values()})
    assert market.table().scan(snapshot_id=tagged).to_arrow().num_rows == 50
    market.judge(feed.distinct)
