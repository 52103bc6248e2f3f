"""A market in which everything moves, and people who ask meanwhile; what an answer fell into is by the clock."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from integration.gateway import GatewayProcess, Reply, keep
from integration.market import STEP_US, Feed, Market, Program
from integration.tail import plain
from seamark.local.answers import AnswerFolder
from seamark.market.schema import RecordKind

_WINDOW_TRADES = 2_000
_PAUSE_SECONDS = 0.05
_HELD_BACK = 0.02
_HELD_BACK_ROUNDS = 40


class Source:
    """Trades that come all the time: some repeated, swapped, unreadable, and some much later than their time."""

    def __init__(self, market: Market, per_round: int) -> None:
        self.feed = Feed(market)
        self._per_round = per_round
        self._late: list[tuple[int, str, bytes]] = []
        self._random = random.Random(7)
        self._running = threading.Event()
        self._end = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._failure: BaseException | None = None
        self._running.set()
        self._thread.start()

    def _run(self) -> None:
        number = 0
        try:
            while not self._end.is_set():
                if not self._running.is_set():
                    self._idle.set()
                    self._running.wait(0.1)
                    continue
                self._idle.clear()
                number += 1
                self.feed.send(self._per_round, repeats=0.05, swaps=0.05, poison=0.005)
                self._send_late(number)
                time.sleep(_PAUSE_SECONDS)
        except BaseException as failure:  # noqa: BLE001 - told where the thread is joined
            self._failure = failure
            self._idle.set()

    def _send_late(self, number: int) -> None:
        """Backfill: a trade that has its time and id now, and comes rounds later."""
        if self._random.random() < _HELD_BACK * self._per_round:
            symbol = self._random.choice(self.feed.symbols)
            self._late.append((number + _HELD_BACK_ROUNDS, symbol, self.feed.trade(symbol)))
        while self._late and self._late[0][0] <= number:
            _, symbol, value = self._late.pop(0)
            self.feed.raw(value, symbol)
        self.feed.flush()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is sent, and all that was sent is acknowledged."""
        self._running.clear()
        assert self._idle.wait(30), "the source does not stop"
        try:
            yield
        finally:
            self._idle.clear()
            self._running.set()

    def stop(self) -> None:
        """Returns when everything, also what was held back, is acknowledged."""
        self._end.set()
        self._thread.join(60)
        if self._failure is not None:
            raise self._failure
        for _, symbol, value in self._late:
            self.feed.raw(value, symbol)
        self.feed.flush()


@dataclass
class Happenings:
    """What happened from when to when, in seconds since 1970."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def span(self, kind: str) -> Iterator[None]:
        began = time.time()
        try:
            yield
        finally:
            self.spans.append((kind, began, time.time()))

    def add_commits(self, writers: list[Program]) -> None:
        """Each commit of trades that a writer's log tells of."""
        for writer in writers:
            for line in writer.log().splitlines():
                if '"committed"' not in line:
                    continue
                event = json.loads(line)
                if event["table"] != RecordKind.TRADES.value:
                    continue
                landed = datetime.fromisoformat(event["time"]).timestamp()
                self.spans.append(("commit", landed - event["seconds"], landed))

    def during(self, began: float, ended: float) -> set[str]:
        return {kind for kind, first, last in self.spans if first <= ended and last >= began}


@dataclass
class Asked:
    """One answer: when, and what of it the counts need."""

    began: float
    ended: float
    exact: bool
    across: bool


class Askers:
    """Clients who ask all the time; every answer is kept for the oracle, and compared with what a client knows.

    A client sends its last end vector, so its time never runs backwards; asks by pages; and asks an
    earlier cursor again.
    """

    def __init__(self, gateway: GatewayProcess, answers: AnswerFolder, feed: Feed) -> None:
        self._gateway, self._answers, self._feed = gateway, answers, feed
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, clients: int) -> None:
        for number in range(clients):
            thread = threading.Thread(
                target=self._client, args=(number,), name=f"client-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self, number: int) -> None:
        dice = random.Random(number)
        last_end: Mapping[str, int] = {}
        earlier: list[tuple[dict[str, Any], str, pl.DataFrame]] = []
        try:
            while not self._end.is_set():
                choice = dice.random()
                if choice < 0.1 and earlier:
                    self._again(*dice.choice(earlier))
                    continue
                question = self._question(dice)
                if choice < 0.5 and last_end:
                    question["last_end"] = ",".join(f"{where}:{end}" for where, end in last_end.items())
                began = time.time()
                reply = self._ask(question, dice.choice((50, 200, 1_000)) if choice > 0.8 else 0)
                if reply is None:
                    continue
                self._keep(question, reply, began)
                end = reply.of()["E"]
                if "last_end" in question and reply.exact:
                    if any(end.get(where, 0) < offset for where, offset in last_end.items()):
                        self.failures.append(f"time ran backwards: {last_end}, then {end}")
                elif reply.exact:
                    earlier = [*earlier[-20:], (question, reply.cursor, reply.frame())]
                last_end = end
        except BaseException as failure:  # noqa: BLE001 - told by the test
            self.failures.append(f"client {number}: {failure!r}")

    def _question(self, dice: random.Random) -> dict[str, Any]:
        question: dict[str, Any] = {}
        if dice.random() < 0.5:
            question["symbols"] = ",".join(dice.sample(self._feed.symbols, dice.choice((1, 2))))
        question["start"] = self._feed.time_us - dice.randrange(_WINDOW_TRADES) * STEP_US
        if dice.random() < 0.2:
            question["end"] = question["start"] + dice.randrange(1, _WINDOW_TRADES) * STEP_US
        return question

    def _ask(self, question: dict[str, Any], page: int) -> Reply | None:
        """The whole answer; page by page of at first `page` rows, if not 0. None where a page is not exact."""
        reply = self._gateway.ask(**(question | {"limit": page} if page else question))
        if reply.error:
            return self._refused(question, reply)
        if not page or not reply.next_cursor:
            return reply
        first, tables = reply, [reply.table]
        asked = {name: value for name, value in question.items() if name != "last_end"}
        while reply.next_cursor:
            page *= 2
            reply = self._gateway.ask(**asked, limit=page, page_cursor=reply.next_cursor)
            if reply.error:
                return self._refused(question, reply)
            if reply.of()["E"] != first.of()["E"]:
                self.failures.append("E moved between pages")
            if not (first.exact and reply.exact):
                return None
            tables.append(reply.table)
        self.counts["answers of several pages"] += 1
        rows = pa.concat_tables(plain(table).to_arrow() for table in tables)
        return replace(first, table=rows, next_cursor="")

    def _again(self, question: dict[str, Any], cursor: str, rows: pl.DataFrame) -> None:
        reply = self._gateway.ask(**question, at=cursor)
        if reply.error:
            self._refused(question, reply)
        elif reply.exact:
            self.counts["same cursor, later"] += 1
            if not reply.frame().equals(rows):
                self.failures.append(f"the same cursor gave other rows: {question}")

    def _refused(self, question: Mapping[str, Any], reply: Reply) -> None:
        """No answer, and why not."""
        self.refused.append(
            f"{reply.status} {reply.error.get('code')} {reply.error.get('message')} {question}"
        )

    def _keep(self, question: Mapping[str, Any], reply: Reply, began: float) -> None:
        ended = time.time()
        keep(
            self._answers,
            reply,
            symbols=question["symbols"].split(",") if "symbols" in question else [],
            from_us=question["start"],
            to_us=question.get("end"),
        )
        with self._lock:
            self.asked.append(Asked(began, ended, reply.exact, reply.on_both_sides()))
