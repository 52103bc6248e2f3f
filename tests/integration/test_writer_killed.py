"""The writer is killed or paused wherever it hurts, while trades keep coming: every one is a row once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.fault_proxy import RESET, FaultProxy, Point
from integration.market import Feed, Market, Program, Spares, open_market, wait_until
from seamark.local.engines import CatalogServer, KafkaNode

SEED = 20_240_808
KILLS_AT_EACH_POINT = 3
PAUSES = 4
JUDGED_EVERY = 8
_ROUND_SECONDS = 0.05


@contextmanager
def trades_coming(feed: Feed) -> Iterator[None]:
    """Trades are sent, about 1,000 a second, until the block ends; then all are acknowledged."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def send() -> None:
        try:
            while not stop.wait(_ROUND_SECONDS):
                feed.send(50, repeats=0.01, swaps=0.01, poison=0.003)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for failure in failures:
            raise failure


class Life:
    """A succession of writers on one market, each ended at a point of its work."""

    def __init__(self, market: Market, proxy: FaultProxy, rng: random.Random) -> None:
        self.market, self._proxy, self._rng = market, proxy, rng
        self._groups = 0
        self._uuid = market.view().uuid
        self.start()

    def start(self, group: str | None = None) -> Program:
        """A new writer; in a group of its own, where nobody waits for a dead member's session to end."""
        if group is None:
            self._groups += 1
            group = f"{self.market.namespace}-{self._groups}"
        self.group = group
        self.writer = self.market.start(consumer_group=group)
        return self.writer

    def kill_at(self, point: Point) -> None:
        """SIGKILL at a random passage of `point`; what was sent by then may arrive or not."""
        writer = self.writer
        answer = self._rng.choice([None, RESET]) if point is not Point.COMMIT_AFTER else RESET
        fault = self._proxy.inject(
            point, answer, call=writer.kill_soon, path_part=self._part(point), nth=self._rng.randint(1, 3)
        )
        assert writer.wait() == -9, writer.log()
        assert fault.arrived.wait(10)
        self.start()

    def pause_at(self, point: Point, in_its_group: bool) -> None:
        """SIGSTOP there; another takes over, in the same group or in another; then SIGCONT."""
        zombie, group = self.writer, self.group
        fault = self._proxy.inject(
            point, call=zombie.pause, path_part=self._part(point), nth=self._rng.randint(1, 3)
        )
        assert fault.arrived.wait(60), zombie.log()
        successor = self.start(group if in_its_group else None)
        wait_until(
            lambda: any(line["table"] == "trades" for line in successor.said("committed")),
            lambda: f"the successor commits:\n{successor.log()}",
        )
        zombie.resume()
        wait_until(
            lambda: zombie.said("lost") or zombie.said("fenced"), lambda: f"it finds out:\n{zombie.log()}"
        )
        assert zombie.terminate() == 0, zombie.log()

    def _part(self, point: Point) -> str:
        return self._uuid if point is Point.STATE_FILE_PUT else "/trades"


@pytest.mark.timeout(600)
def test_every_trade_is_a_row_once_however_often_the_writer_dies(
    kafka: KafkaNode, catalog_server: CatalogServer, spares: Spares
) -> None:
    rng = random.Random(SEED)
    points = [*Point] * KILLS_AT_EACH_POINT
    paused_at = [Point.DATA_FILE_PUT, Point.STATE_FILE_PUT, Point.COMMIT_BEFORE, Point.COMMIT_AFTER]
    plan = [(point, "kill") for point in points]
    plan += [(point, ("pause in its group", "pause")[n % 2]) for n, point in enumerate(paused_at[:PAUSES])]
    rng.shuffle(plan)
    assert len(plan) >= 20
    with (
        FaultProxy(catalog_server.properties()) as proxy,
        open_market(kafka, catalog_server, spares, proxy, flush_seconds=0.5) as market,
    ):
        feed = Feed(market, SEED)
        life = Life(market, proxy, rng)
        for first in range(0, len(plan), JUDGED_EVERY):
            runs = plan[first : first + JUDGED_EVERY]
            with trades_coming(feed):
                for point, ending in runs:
                    if ending == "kill":
                        life.kill_at(point)
                    else:
                        life.pause_at(point, in_its_group=ending != "pause")
            market.drain(life.writer)
            figures = market.judge(feed.distinct)
            assert figures.refused == feed.poisoned, f"after {runs}"
        assert figures.duplicates > 0
