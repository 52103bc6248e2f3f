"""What the gateway answers while a part fails: each row of the failure table, on real engines.

Every answer is kept, and in the end judged by the oracle against the raw log.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integration.fault_proxy import RESET, FaultProxy, Point
from integration.gateway import GatewayProcess, Reply, keep
from integration.market import Feed, Market, Spares, open_market
from integration.relay import Relay
from integration.tail import TailProcess
from seamark.local.answers import AnswerFolder
from seamark.local.engines import CatalogServer, KafkaNode
from seamark.local.engines.ports import LOOPBACK
from seamark_oracle import judge

BUDGET_ROWS = 600
"""Offsets of all partitions together that the gateways read straight from Kafka for one answer."""
UNDER, OVER = 150, 8 * BUDGET_ROWS
"""Trades that together are less than the budget, and that each partition has more of."""
FOREVER = 1_000_000


class Stand:
    """A market with a tail and a gateway; whether a writer runs is each test's own affair."""

    def __init__(self, market: Market, proxy: FaultProxy, folder: Path) -> None:
        self.market, self.proxy, self.folder = market, proxy, folder
        self.feed = Feed(market)
        self.answers = AnswerFolder(folder / "answers")
        self.tail = TailProcess(market, folder / "tail")
        self.gateway = self.gateway_at("gateway")
        self.feed.send(400, repeats=0.05, swaps=0.05, poison=0.01)
        self.commit()

    def gateway_at(self, name: str, tail_address: str = "", **settings: Any) -> GatewayProcess:
        return self.gateway_of(name, [tail_address or self.tail.address], **settings)

    def gateway_of(self, name: str, tail_addresses: Sequence[str], **settings: Any) -> GatewayProcess:
        """Its way to the catalog leads through the proxy; that of tail and writer does not."""
        between = self.proxy.properties
        given: dict[str, Any] = {
            "catalog_uri": between["uri"],
            "catalog_oauth2_uri": between["oauth2-server-uri"],
            "log_budget_rows": BUDGET_ROWS,
        }
        return GatewayProcess(self.market, self.folder / name, tail_addresses, **(given | settings))

    def close(self) -> None:
        self.gateway.__exit__()
        self.tail.__exit__()

    def send(self, count: int) -> None:
        self.feed.send(count, repeats=0.05, swaps=0.05, poison=0.01)

    def commit(self, **settings: Any) -> None:
        """All of the log into the lake, by a writer that lives no longer than that."""
        writer = self.market.start_reading(**settings)
        self.market.drain(writer)
        assert writer.terminate() == 0, writer.log()

    def settle(self) -> None:
        """Everything serves, and the gateway has the newest pin."""
        self.tail.await_serving()
        self.tail.await_caught_up()
        self.gateway.await_serving()
        self.gateway.wait(lambda: self.ask().vector("H") == self.committed(), "it has the newest pin")

    def committed(self) -> dict[int, int]:
        return {partition: point.next for partition, point in self.market.checkpoints().items()}

    def ask(self, gateway: GatewayProcess | None = None, **parameters: Any) -> Reply:
        """An answer, kept if it is one."""
        reply = (gateway or self.gateway).ask(**parameters)
        if not reply.error and "fields" not in parameters:
            asked = {"from_us": parameters["start"]} if "start" in parameters else {}
            keep(self.answers, reply, **asked)
        return reply

    def whole(self, reply: Reply) -> None:
        """Fails unless it is exact and goes to the log's end."""
        assert reply.status == 200, (reply.reason, reply.error)
        assert reply.exact
        assert reply.vector("E") == self.market.ends()
        assert reply.missing() == {}

    def short(self, reply: Reply, missing: dict[int, tuple[int, int | str, str]]) -> None:
        """Fails unless it is partial and names just these ranges, as JSON and in words."""
        assert reply.status == 206, (reply.reason, reply.error)
        assert not reply.exact
        assert reply.missing() == missing
        for partition, (first, next_, reason) in missing.items():
            end = "an unknown end" if next_ == "unknown" else next_
            assert f"1.{partition} of trades from {first} to {end}: {reason}" in reply.reason

    def over_budget(self) -> dict[int, tuple[int, int | str, str]]:
        """What is behind the checkpoints and more than the budget."""
        ends = self.market.ends()
        return {
            partition: (first, ends[partition], "OVER_BUDGET")
            for partition, first in self.committed().items()
            if ends[partition] - first > BUDGET_ROWS
        }


@pytest.fixture(scope="module")
def shared(
    kafka: KafkaNode,
    catalog_server: CatalogServer,
    spares: Spares,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    with (
        FaultProxy(catalog_server.properties()) as proxy,
        open_market(kafka, catalog_server, spares) as market,
    ):
        made = Stand(market, proxy, tmp_path_factory.mktemp("stand"))
        try:
            yield made
            made.commit()
        finally:
            made.close()
        verdict = judge(
            kafka.bootstrap,
            catalog_server.properties(),
            market.namespace,
            tables=["trades"],
            answers=made.answers.folder,
        )
        assert verdict.exact, verdict.to_text()
        [judged] = verdict.answers
        print(f"\nanswers judged: {judged.answers}, {judged.rows} rows, {judged.exact} exact")


@pytest.fixture
def stand(shared: Stand) -> Stand:
    """The shared one, with everything at work."""
    shared.settle()
    return shared


def test_tail_down_under_the_budget_kafka_gives_the_rest(stand: Stand) -> None:
    stand.send(UNDER)
    stand.tail.program.kill()
    reply = stand.ask()
    stand.whole(reply)
    assert reply.on_both_sides()
    assert reply.vector("lo") == {}
    stand.tail.start()
    stand.tail.await_serving()
    again = stand.ask()
    stand.whole(again)
    assert again.frame().equals(reply.frame())


def test_tail_and_kafka_down_the_end_is_unknown(stand: Stand) -> None:
    whole = stand.ask()
    stand.send(UNDER)
    held = stand.committed()
    stand.tail.program.kill()
    stand.market.kafka.kill()
    try:
        reply = stand.ask(timeout_seconds=8)
    finally:
        stand.market.kafka.start()
        stand.feed.reconnect()
        stand.tail.start()
    stand.short(
        reply, {partition: (first, "unknown", "TAIL_UNAVAILABLE") for partition, first in held.items()}
    )
    assert reply.vector("E") == reply.vector("H") == held
    assert whole.status == 200
    stand.settle()
    stand.whole(stand.ask())


def test_tail_replica_behind_until_the_deadline_or_until_it_is_given_up_for_kafka(stand: Stand) -> None:
    stand.send(UNDER)
    held = stand.committed()
    stand.tail.program.pause()
    try:
        with ThreadPoolExecutor(1) as patient:
            later = patient.submit(stand.ask, timeout_seconds=60)
            began = time.monotonic()
            reply = stand.ask(timeout_seconds=3)
            assert time.monotonic() - began >= 2, "it waits for the replica"
            # In what is left of the time Kafka gives as many partitions as it can.
            if reply.status == 200:
                stand.whole(reply)
            else:
                stand.short(
                    reply,
                    {
                        partition: (held[partition], "unknown", "TAIL_UNAVAILABLE")
                        for partition in reply.missing()
                    },
                )
            stand.whole(later.result())
    finally:
        stand.tail.program.resume()
    stand.tail.await_caught_up()
    stand.whole(stand.ask())


def test_one_of_two_replicas_is_stopped_the_peer_gives_all_long_before_the_deadline(
    stand: Stand, tmp_path: Path
) -> None:
    tails = [
        TailProcess(stand.market, tmp_path / f"tail-{ordinal}", ordinal=ordinal, replicas=2, replication=2)
        for ordinal in range(2)
    ]
    addresses = [tail.address for tail in tails]
    with tails[0], tails[1], stand.gateway_of("replicated", addresses, tail_replication=2) as gateway:
        for service in (*tails, gateway):
            service.await_serving()
        stand.send(OVER)  # more than Kafka may give
        for tail in tails:
            tail.await_caught_up()
        ends = ",".join(f"1.{partition}:{end}" for partition, end in stand.market.ends().items())
        for tail in tails:
            tail.program.pause()
            try:
                for asked in ({}, {"last_end": ends}):
                    began = time.monotonic()
                    reply = stand.ask(gateway, timeout_seconds=20, **asked)
                    assert time.monotonic() - began < 10
                    stand.whole(reply)
                    assert reply.on_both_sides()
            finally:
                tail.program.resume()
            tail.await_caught_up()
            gateway.wait(lambda: stand.ask(gateway).status == 200, "it answers")
    stand.commit()


def test_replica_restarts_in_the_middle_of_a_read_once_more_then_kafka_then_partial(
    stand: Stand, tmp_path: Path
) -> None:
    """Three lives behind one address; each read that is killed waits for offsets that are still to come."""

    def asking(pool: ThreadPoolExecutor, count: int) -> Any:
        ends = ",".join(f"1.{partition}:{end + count}" for partition, end in stand.market.ends().items())
        return pool.submit(stand.ask, gateway, last_end=ends, timeout_seconds=40)

    def under_way(tail: TailProcess) -> None:
        tail.wait(lambda: tail.metrics("reads_under_way") == {(): 1.0}, "a read is under way")

    def each(count: int) -> None:
        """So many trades more in each partition."""
        for symbol in stand.feed.symbols[::2]:
            for _ in range(count):
                stand.feed.raw(stand.feed.trade(symbol), symbol)
        stand.feed.flush()

    lives = [TailProcess(stand.market, tmp_path / f"life-{number}") for number in range(2)]
    first, second = lives
    with (
        Relay(first.address) as relay,
        stand.gateway_at("relayed", relay.address) as gateway,
        ThreadPoolExecutor(1) as pool,
        first,
        second,
    ):
        for service in (first, second, gateway):
            service.await_serving()
        answer = asking(pool, 3)
        under_way(first)
        relay.target = second.address
        first.program.kill()
        under_way(second)
        each(3)
        stand.whole(answer.result())
        assert gateway.ask().vector("lo") != {}, "a tail gave it"

        answer = asking(pool, OVER)
        under_way(second)
        first.start()
        first.await_serving()
        relay.target = first.address
        second.program.kill()
        under_way(first)
        ends = stand.market.ends()
        relay.target = f"{LOOPBACK}:1"
        first.program.kill()
        reply = answer.result()
        # The ends asked for are not there yet, and nobody is there to wait with.
        stand.short(
            reply,
            {
                partition: (held, ends[partition] + OVER, "NOT_REACHED")
                for partition, held in stand.committed().items()
            },
        )


def test_trino_down_the_direct_reader_within_its_budget_else_503_with_the_estimate(stand: Stand) -> None:
    boundary_us = max(stand.ask().frame()["timestamp"].to_physical().to_list()) + 1
    stand.send(UNDER)
    stand.commit()
    stand.send(UNDER)
    stand.settle()
    all_bytes = stand.gateway.get("/v1/estimate", table="trades").json()["bytes"]
    late_bytes = stand.gateway.get("/v1/estimate", table="trades", start=boundary_us).json()["bytes"]
    assert 0 < late_bytes < all_bytes
    with stand.gateway_at(
        "trino", trino_url=f"http://{LOOPBACK}:1", direct_budget_bytes=(late_bytes + all_bytes) // 2
    ) as gateway:
        gateway.await_serving()
        reply = stand.ask(gateway, start=boundary_us)
        stand.whole(reply)
        assert reply.on_both_sides()
        assert reply.header["engine"] == "direct"
        refused = gateway.ask()
        assert refused.status == 503
        assert refused.error["code"] == "UNAVAILABLE"
        assert "Trino does not answer" in refused.error["message"]
        assert f"{all_bytes:,} bytes" in refused.error["message"]
        stand.whole(stand.ask(gateway, engine="direct"))


def test_writer_stuck_the_tail_gives_it_and_the_age_grows(stand: Stand) -> None:
    writer = stand.market.start_reading()
    stand.market.drain(writer)
    try:
        stand.settle()
        writer.pause()
        stand.send(UNDER)
        stand.tail.await_caught_up()
        first = stand.ask()
        stand.whole(first)
        assert first.on_both_sides()
        time.sleep(1.5)
        second = stand.ask()
        stand.whole(second)
        assert second.of()["committed_age_ms"] >= first.of()["committed_age_ms"] + 1_500
        assert second.header["freshness_ms"] < second.of()["committed_age_ms"]
        writer.resume()
        stand.market.drain(writer)
    finally:
        writer.resume()
        assert writer.terminate() == 0, writer.log()
    stand.gateway.wait(lambda: stand.ask().of()["committed_age_ms"] == 0, "all is committed")


def test_a_cursor_gives_the_same_bytes_after_commit_compaction_and_expiry(stand: Stand) -> None:
    stand.send(UNDER)
    stand.tail.await_caught_up()
    before = stand.ask()
    stand.whole(before)
    assert before.on_both_sides()
    questions: list[dict[str, Any]] = [
        {},
        {"symbols": stand.feed.symbols[0]},
        {"order": "desc", "filters": "side:eq:BUY"},
    ]
    given = [
        (question, response.headers["seamark-cursor"], response.content)
        for question in questions
        for response in [stand.gateway.get("/v1/trades", format="csv", **question)]
    ]
    assert all(len(content.splitlines()) > 10 for _, _, content in given)

    def same() -> None:
        for question, cursor, content in given:
            response = stand.gateway.get("/v1/trades", format="csv", at=cursor, **question)
            assert (response.status_code, response.headers["seamark-exact"]) == (200, "true"), response.text
            assert response.content == content
        again = stand.ask(at=before.cursor)
        assert again.vector("E") == before.vector("E")
        assert again.frame().equals(before.frame())

    same()
    stand.commit()
    stand.send(UNDER)
    stand.settle()
    same()
    expired = before.of()["snapshot"]
    compacted = stand.market.rewrite()
    stand.gateway.wait(lambda: stand.ask().of()["snapshot"] == compacted, "it has the compacted snapshot")
    assert stand.ask().on_both_sides()
    same()
    assert stand.market.expire(files=True) > 0
    stand.gateway.restart()  # what it had in memory of the files is gone, too
    same()
    gone = stand.gateway.ask(snapshot=expired)
    assert (gone.status, gone.error["code"]) == (410, "GONE")
    assert str(expired) in gone.error["message"]


def test_tail_down_over_the_budget_the_ranges_are_named(stand: Stand) -> None:
    stand.send(OVER)
    stand.tail.program.kill()
    missing = stand.over_budget()
    assert len(missing) == 4
    reply = stand.ask()
    stand.short(reply, missing)
    assert reply.vector("E") == reply.vector("H") == stand.committed()
    assert len(reply.frame()), "what history has is given"
    stand.tail.start()
    stand.tail.await_serving()
    stand.whole(stand.ask())


def test_catalog_down_the_last_pin_while_the_tail_reaches_it(stand: Stand) -> None:
    stand.commit()
    stand.send(OVER)
    stand.settle()
    held = stand.committed()
    stand.proxy.inject(Point.LOAD_TABLE, RESET, times=FOREVER)
    try:
        time.sleep(1.5)
        first = stand.ask()
        stand.whole(first)
        assert first.on_both_sides()
        assert first.of()["pin_age_ms"] >= 1_000
        # The lake goes on without the gateway's knowing, and the tail lets go of what is in it.
        stand.commit()
        stand.send(UNDER)
        stand.tail.wait(
            lambda: all(mark.lo > held[where.partition] for where, mark in stand.tail.held().items()),
            "the tail has let go of what the pin lacks",
        )
        stand.tail.await_caught_up()
        lo = {where.partition: mark.lo for where, mark in stand.tail.held().items()}
        second = stand.ask()
        stand.short(
            second, {partition: (first, lo[partition], "OVER_BUDGET") for partition, first in held.items()}
        )
        assert second.of()["pin_age_ms"] > first.of()["pin_age_ms"]
        assert second.vector("H") == held
        assert second.vector("E") == stand.market.ends()
        assert second.on_both_sides()
    finally:
        stand.proxy.clear()
    stand.settle()
    stand.whole(stand.ask())


# Clients


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "stops reading"])
def test_a_client_that_leaves_or_stops_reading_in_the_middle_of_an_answer_is_let_go(
    stand: Stand, leaves: bool
) -> None:
    with stand.gateway_at("dropping", write_timeout_seconds=1) as gateway:
        gateway.await_serving()
        if len(stand.ask().table) < 25_000:
            stand.send(25_000)
        stand.tail.await_caught_up()
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with reader:
            reader.connect((LOOPBACK, gateway.settings["http_port"]))
            reader.sendall(b"GET /v1/trades?format=ndjson HTTP/1.1\r\nhost: test\r\n\r\n")
            assert reader.recv(4_096).startswith(b"HTTP/1.1 200")
            if leaves:
                assert len(gateway.running()) <= 1
                reader.close()
            gateway.wait(lambda: gateway.running() == [], "nobody is served any more")
        assert gateway.ask(symbols=stand.feed.symbols[0]).exact


# A log that lacks what no commit has


def test_log_start_behind_the_checkpoint(market: Market, proxied: FaultProxy, tmp_path: Path) -> None:
    stand = Stand(market, proxied, tmp_path)
    try:
        stand.settle()
        stand.feed.send(UNDER)  # no repeats: each is a row
        stand.tail.await_caught_up()
        held, ends = stand.committed(), stand.market.ends()
        stand.tail.wait(
            lambda: all(mark.lo == held[where.partition] for where, mark in stand.tail.held().items()),
            "what is committed goes after the retention",
        )
        lost = {partition: held[partition] + 20 for partition in (0, 1)}
        for partition, offset in lost.items():
            assert offset < ends[partition]
            market.delete_records(partition, offset)
        kept = stand.gateway.ask()  # not for the oracle: it cannot see these records any more
        stand.whole(kept)
        assert len(kept.table) == stand.feed.distinct
        assert kept.vector("lo") == held

        stand.tail.restart()
        reply = stand.ask()
        stand.short(
            reply, {partition: (held[partition], next_, "LOG_GONE") for partition, next_ in lost.items()}
        )
        assert reply.vector("E") == ends
        assert len(reply.table) == stand.feed.distinct - 40
        before = stand.gateway.ask(at=kept.cursor)
        assert (before.status, before.exact) == (206, False), "history cannot give them either"

        stand.commit(on_log_start="lost")
        stand.settle()
        after = stand.ask()
        stand.whole(after)
        assert after.frame().equals(reply.frame())
        assert after.of()["excluded"] == [
            {"partition": f"1.{partition}", "from": held[partition], "to": next_, "cause": "LOST"}
            for partition, next_ in lost.items()
        ]
        gone = stand.gateway.ask(at=kept.cursor)
        assert gone.status == 410, gone
        assert "shed_since" in gone.error["message"]
        verdict = judge(
            market.kafka.bootstrap,
            market.server.properties(),
            market.namespace,
            tables=["trades"],
            answers=stand.answers.folder,
        )
        assert verdict.exact, verdict.to_text()
    finally:
        stand.close()


@pytest.fixture
def proxied(catalog_server: CatalogServer) -> Iterator[FaultProxy]:
    with FaultProxy(catalog_server.properties()) as proxy:
        yield proxy
