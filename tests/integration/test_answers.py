"""Thousands of answers while rows come, are committed, compacted and expired, and everything that answers dies.

Real Kafka, catalog, writers, tails and gateway; the oracle judges every answer against the raw log
below its own end. The model test has the interleavings that need exact timing; this has the engines.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitFailedException

from integration.gateway import GatewayProcess
from integration.market import Market, Program, Spares, open_market, wait_until
from integration.moving import Askers, Happenings, Source
from integration.tail import TailProcess
from seamark.local.answers import AnswerFolder
from seamark.local.engines import CatalogServer, EngineMissingError, KafkaNode, TrinoServer
from seamark_oracle import judge

ANSWERS = int(os.environ.get("SEAMARK_TEST_ANSWERS", "1500"))
"""`make test-answers` wants ten thousand."""
CLIENTS = 3
TRADES_A_ROUND = 10
REPLICAS = 2
_MOST_SECONDS = 1_500.0
_LOOK_SECONDS = 1.0
_TRIES = 20
_FILES_COMPACTED = 12
_MOST_REPARTITIONS = 3


class Stage:
    """The processes, and what befalls them."""

    def __init__(
        self, market: Market, folder: Path, happenings: Happenings, trino: TrinoServer | None
    ) -> None:
        self.market, self.happenings, self.trino = market, happenings, trino
        self.optimized_by_trino = self.rollbacks = self.repartitions = 0
        self.source = Source(market, TRADES_A_ROUND)
        self.tails = [
            TailProcess(
                market, folder / f"tail-{ordinal}", ordinal=ordinal, replicas=REPLICAS, replication=REPLICAS
            )
            for ordinal in range(REPLICAS)
        ]
        self.gateway = GatewayProcess(
            market, folder / "gateway", [tail.address for tail in self.tails], tail_replication=REPLICAS
        )
        self.writers: list[Program] = [market.start_reading()]
        for service in (*self.tails, self.gateway):
            service.await_serving()

    @property
    def writer(self) -> Program:
        return self.writers[-1]

    def close(self) -> None:
        for service in (self.gateway, *self.tails):
            service.__exit__()

    # What happens; each is over when everything is at work again

    def restart_a_tail(self, dice: random.Random) -> None:
        tail = dice.choice(self.tails)
        with self.happenings.span("restart"):
            tail.restart()

    def restart_all_tails(self, dice: random.Random) -> None:
        with self.happenings.span("restart"):
            for tail in self.tails:
                tail.program.kill()
            for tail in self.tails:
                tail.start()
            for tail in self.tails:
                tail.await_serving()

    def pause_a_tail(self, dice: random.Random) -> None:
        """A replica behind."""
        tail = dice.choice(self.tails)
        tail.program.pause()
        time.sleep(dice.uniform(0.2, 1.0))
        tail.program.resume()

    def kill_the_writer(self, dice: random.Random) -> None:
        with self.happenings.span("restart"):
            self.writer.kill()
            self.writers.append(self.market.start_reading())

    def replace_the_writer(self, dice: random.Random) -> None:
        """A rebalance, and one that leaves in order."""
        old = self.writer
        self.writers.append(self.market.start())
        old.terminate()

    def compact(self, dice: random.Random) -> None:
        for _ in range(_TRIES):
            with self.happenings.span("compaction"):
                try:
                    if self.trino and dice.random() < 0.5:
                        self.market.optimize(self.trino)
                        self.optimized_by_trino += 1
                    else:
                        self.market.rewrite(_FILES_COMPACTED)
                except CommitFailedException:
                    continue  # the writer was first
                except LookupError:
                    continue  # no partition had two files
            return
        pytest.fail(f"no compaction landed in {_TRIES} tries")

    def expire(self, dice: random.Random) -> None:
        self.market.expire()

    def roll_back(self, dice: random.Random) -> None:
        """Somebody moves the branch to an older snapshot; the writer stops, and goes on from there."""
        target = self.market.head()
        wait_until(lambda: self.market.head() != target, "another commit")
        self.market.table().manage_snapshots().rollback_to_snapshot(target).commit()
        assert self.writer.wait() == 1, self.writer.log()
        adopted = self.market.command("adopt", self.market.topic, "--at-snapshot", str(target))
        assert adopted.exit_code == 0, adopted.log()
        self.writers.append(self.market.start_reading())
        self.rollbacks += 1

    def repartition(self, dice: random.Random) -> None:
        """The topic gets another partition: symbols move, and a new stream begins where the old one ends."""
        with self.source.paused():
            self.market.drain(self.writer)
            assert self.writer.terminate() == 0, self.writer.log()
            before = self.market.view().stream_of(self.market.topic).stream_id
            self.market.add_partitions(1)
            adopted = self.market.command("adopt", self.market.topic, "--succeeds", str(before))
            assert adopted.exit_code == 0, adopted.log()
            self.writers.append(self.market.start_reading())
            self.source.feed.route(self.market.routing)
        self.repartitions += 1


@pytest.mark.timeout(1_800)
def test_every_answer_is_the_log_below_its_end_whatever_happens(
    kafka: KafkaNode,
    catalog_server: CatalogServer,
    spares: Spares,
    trino_if_any: TrinoServer | EngineMissingError,
    tmp_path: Path,
) -> None:
    trino = trino_if_any if isinstance(trino_if_any, TrinoServer) else None
    dice, happenings, answers = random.Random(11), Happenings(), AnswerFolder(tmp_path / "answers")
    with open_market(kafka, catalog_server, spares, flush_seconds=1) as market:
        stage = Stage(market, tmp_path, happenings, trino)
        try:
            source = stage.source
            askers = Askers(stage.gateway, answers, source.feed)
            askers.start(CLIENTS)
            events = [
                stage.restart_a_tail,
                stage.compact,
                stage.kill_the_writer,
                stage.compact,
                stage.pause_a_tail,
                stage.expire,
                stage.restart_all_tails,
                stage.compact,
                stage.replace_the_writer,
                stage.roll_back,
            ]
            deadline = time.monotonic() + _MOST_SECONDS
            while len(askers.asked) < ANSWERS and time.monotonic() < deadline and not askers.failures:
                for event in events:
                    event(dice)
                    time.sleep(_LOOK_SECONDS)
                if stage.repartitions < _MOST_REPARTITIONS:
                    stage.repartition(dice)
            askers.stop()
            source.stop()
            market.drain(stage.writer)
            assert stage.writer.terminate() == 0, stage.writer.log()
            happenings.add_commits(stage.writers)
        finally:
            stage.close()
        assert askers.failures == []
        assert askers.refused == []
        verdict = judge(
            kafka.bootstrap,
            catalog_server.properties(),
            market.namespace,
            tables=["trades"],
            answers=answers.folder,
        )
        assert verdict.exact, verdict.to_text()
        assert verdict.figures("trades").in_iceberg == source.feed.distinct
    [judged] = verdict.answers
    fell = [happenings.during(each.began, each.ended) for each in askers.asked]
    shares = {
        kind: sum(kind in kinds for kinds in fell) / len(fell) for kind in ("commit", "restart", "compaction")
    }
    shares["across the seam"] = sum(each.across for each in askers.asked) / len(fell)
    shares["exact"] = judged.exact / judged.answers
    print(f"\n{judged.answers} answers, {judged.rows} rows, {dict(askers.counts)}, shares {shares}")
    print(
        f"{stage.rollbacks} rollbacks, {stage.repartitions} repartitions, {stage.optimized_by_trino} times by Trino"
    )
    assert min(stage.rollbacks, stage.repartitions) > 0
    assert stage.optimized_by_trino or not trino
    assert judged.answers == len(askers.asked) >= ANSWERS
    assert shares["across the seam"] >= 0.30
    assert min(shares["commit"], shares["restart"], shares["compaction"]) >= 0.03
    assert shares["exact"] >= 0.80  # a rollback leaves doubt until it is adopted
    assert (
        min(askers.counts["same cursor, later"], askers.counts["answers of several pages"]) >= ANSWERS // 50
    )
