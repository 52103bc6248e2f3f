"""A small world whose truth is known by how it is built, not by deriving it.

Each record is put into the log together with what must become of it: a row, or a counter.
Records are encoded by fastavro from the published contracts, rows are written by pyarrow.
"""

import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from seamark.lake import checkpoint
from seamark.market.order import iceberg_sort_columns
from seamark.market.schema import RecordKind, avro_schema, row_schema
from seamark_oracle import Verdict
from seamark_oracle.evidence import Bound, DataFile, LogRecord, PinnedTable, Topic
from seamark_oracle.judge import judge_evidence

START_US = 1_795_000_000_000_000
TOPICS = {
    "trades": "market.crypto.trades.binance",
    "quotes": "market.crypto.quotes.binance",
    "reference_data": "market.crypto.reference_data.binance",
    "feed_events": "market.feed_events",
}
_SCHEMA_ID = {"trades": 1, "quotes": 2, "reference_data": 3, "feed_events": 5}
_FIRST_OFFSET = 7  # a stream need not begin at 0


def at(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


@cache
def _parsed(table: str) -> Any:
    return fastavro.parse_schema(json.loads(json.dumps(avro_schema(RecordKind(table)))))


def frame(table: str, record: Mapping[str, Any], schema_id: int | None = None) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(table), record)
    return b"\0" + (schema_id or _SCHEMA_ID[table]).to_bytes(4, "big") + out.getvalue()


def trade(
    symbol: str = "BTCUSDT", number: int = 1, time_us: int = START_US, **changes: Any
) -> dict[str, Any]:
    record = {
        "exchange": "binance",
        "market": "spot",
        "feed": "trade",
        "symbol": symbol,
        "source_sequence": number,
        "timestamp": at(time_us),
        "published_timestamp": at(time_us + 300),
        "ingestion_timestamp": at(time_us + 900),
        "price": Decimal("61837.6300000001"),
        "quantity": Decimal("0.02"),
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": ["a", "b"],
        "origin": "STREAM",
    }
    return record | changes


def quote(
    symbol: str = "BTCUSDT", number: int = 1, time_us: int = START_US, **changes: Any
) -> dict[str, Any]:
    record = {
        "exchange": "binance",
        "market": "spot",
        "feed": "bookTicker",
        "symbol": symbol,
        "source_sequence": number,
        "timestamp": at(time_us),
        "ingestion_timestamp": at(time_us),
        "timestamp_source": "RECEIVE",
        "bid_price": Decimal("10.5"),
        "bid_quantity": Decimal(3),
        "ask_price": Decimal("10.6"),
        "ask_quantity": Decimal("999999999999999999.9999999999"),
        "currency": "USDT",
        "origin": "STREAM",
    }
    return record | changes


def instrument(symbol: str, event_id: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "exchange": "binance",
        "market": "spot",
        "symbol": symbol,
        "timestamp": at(START_US),
        "ingestion_timestamp": at(START_US),
        "status": "TRADING",
        "currency": "USDT",
        "tick_size": Decimal("0.01"),
        "listing_date": date(2017, 8, 17),
    }


def feed_event(event_id: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "kind": "PROGRESS",
        "exchange": "binance",
        "market": "spot",
        "timestamp": at(START_US),
        "shard": 0,
        "acked": [{"topic_id": "x", "partition": 1, "next_offset": 12}],
    }


@dataclass
class Part:
    """One partition: its log, and what the table claims of it."""

    start: int = _FIRST_OFFSET
    records: list[LogRecord] = field(default_factory=list)
    fates: list[str] = field(default_factory=list)
    """The counter of each record."""
    append_us: int = 0

    @property
    def end(self) -> int:
        return _FIRST_OFFSET + len(self.records)

    @property
    def counters(self) -> dict[str, int]:
        counted = Counter(self.fates[self.start - _FIRST_OFFSET :])
        return {name: counted[name] for name in ("written", "duplicate", "dlq", "shed", "lost")}


@dataclass
class LocalFile:
    path: Path
    record_count: int
    bounds: list[Bound]

    def fetch(self, _: Path) -> Path:
        return self.path


@dataclass
class World:
    """Log, lake and journal. Tests spoil one of them and ask the oracle."""

    folder: Path
    parts: dict[str, list[Part]]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TOPICS})
    closed: dict[str, list[list[Part]]] = field(default_factory=lambda: {name: [] for name in TOPICS})
    """Earlier lives of each topic, with the log as it was then. Streams are numbered from 1."""
    claims: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """Changes to the open stream's checkpoint of (table, partition)."""
    properties: dict[str, str] = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)
    """Changes to the snapshot's summary, which else says what the properties say."""
    dead_letters: list[bytes] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    log_start: dict[str, int] = field(default_factory=dict)
    delete_files: int = 0
    unsorted: bool = False

    def put(self, table: str, partition: int, value: bytes | None, fate: str, append_us: int) -> int:
        """Appends a record whose fate is the counter `fate`; returns its offset."""
        part = self.parts[table][partition]
        offset = part.end
        part.records.append(LogRecord(offset, append_us // 1000, value))
        part.fates.append(fate)
        part.append_us = max(part.append_us, append_us // 1000 * 1000)
        return offset

    def row(
        self, table: str, partition: int, record: Mapping[str, Any], append_us: int, epoch: int = 0
    ) -> None:
        """Appends a record that must be a row, and the row."""
        offset = self.put(table, partition, frame(table, record), "written", append_us)
        self.rows[table].append(
            {
                "stream_id": len(self.closed[table]) + 1,
                "kafka_partition": partition,
                "kafka_offset": offset,
                "kafka_timestamp": at(self.parts[table][partition].append_us),
                "id_epoch": epoch,
                "repair_seq": 0,
                "asset_class": "all" if table == "feed_events" else "crypto",
                **record,
            }
        )

    def truncate(self, table: str, partition: int, end: int) -> None:
        """The log of a partition loses all from `end` on; the topic is adopted as its own successor.

        Every partition is read again from the log's start: known trades and quotes are
        duplicates, events and instruments are rows again.
        """
        old = self.parts[table]
        self.closed[table].append(old)
        start = self.log_start.get(table, _FIRST_OFFSET)
        self.parts[table] = [Part(start) for _ in old]
        rows = {(row["kafka_partition"], row["kafka_offset"]): row for row in self.rows[table]}
        for number, part in enumerate(old):
            for record, fate in zip(part.records, part.fates, strict=True):
                if number == partition and record.offset >= end:
                    break
                known = table in ("trades", "quotes") and fate == "written"
                append_us = record.append_ms * 1000
                self.put(table, number, record.value, "duplicate" if known else fate, append_us)
                if fate == "written" and not known:
                    append = {"kafka_timestamp": at(self.parts[table][number].append_us)}
                    again = rows[number, record.offset] | {"stream_id": len(self.closed[table]) + 1}
                    self.rows[table].append(again | append)

    def cluster_id(self) -> str:
        return "c"

    def topic(self, name: str) -> Topic | None:
        if name == "market.dlq":
            return Topic("dlq", {0: (0, len(self.dead_letters))})
        table = next(table for table, topic in TOPICS.items() if topic == name)
        low = self.log_start.get(table, _FIRST_OFFSET)
        return Topic(f"id-{name}", {n: (low, part.end) for n, part in enumerate(self.parts[table])})

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        if topic == "market.dlq":
            records = [LogRecord(n, 0, value) for n, value in enumerate(self.dead_letters)]
        else:
            table = next(table for table, name in TOPICS.items() if name == topic)
            records = self.parts[table][partition].records
        return iter([record for record in records if first <= record.offset < end])

    def pin(self, table: str) -> PinnedTable:
        properties = {"write.format.default": "parquet"}
        lives = [*self.closed[table], self.parts[table]]
        for stream_id, parts in enumerate(lives, start=1):
            properties[f"seamark.stream.{stream_id}"] = json.dumps(
                {
                    "cluster_id": "c",
                    "topic_id": f"id-{TOPICS[table]}",
                    "topic": TOPICS[table],
                    "partitions": len(parts),
                    "start": [part.start for part in parts],
                    "succeeds": stream_id - 1 or None,
                    "routing": "{}",
                    "routing_hash": "",
                }
            )
            for number, part in enumerate(parts):
                claim = {
                    "next": part.end,
                    "leader_epoch": 0,
                    "batch_id": "b",
                    "kafka_timestamp_us": part.append_us,
                    "state": "u/b/1",
                    **part.counters,
                }
                if parts is self.parts[table]:
                    claim |= self.claims.get((table, number), {})
                properties[f"seamark.checkpoint.{stream_id}.{number}"] = json.dumps(claim)
        properties |= self.properties
        summary = {
            checkpoint.SUMMARY: checkpoint.to_summary(checkpoint.from_properties(properties), 0),
            checkpoint.EXCLUDED: properties.get(checkpoint.EXCLUDED, ""),
        } | self.summary
        names = row_schema(RecordKind(table)).names
        ids = {name: number for number, name in enumerate(names, start=1)}
        return PinnedTable(properties, summary, self._files(table), ids, self.delete_files)

    def _files(self, table: str) -> list[DataFile]:
        rows, schema = self.rows[table], row_schema(RecordKind(table))
        columns = iceberg_sort_columns(RecordKind(table))
        numbered = pa.schema(
            [
                each.with_metadata({"PARQUET:field_id": str(number)})
                for number, each in enumerate(schema, start=1)
            ]
        )
        files: list[DataFile] = []
        for number, half in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            content = pa.Table.from_pylist(half, schema).sort_by([(name, "ascending") for name in columns])
            if self.unsorted:
                content = content.take(list(reversed(range(len(half)))))
            path = self.folder / f"{table}-{number}.parquet"
            pq.write_table(content.cast(numbered), path)
            bounds = [
                Bound(name, min(row[name] for row in half), max(row[name] for row in half))
                for name in ("kafka_offset", "symbol", "price")
                if half and name in half[0]
            ]
            files.append(LocalFile(path, len(half), bounds))
        return files

    def judge(self) -> Verdict:
        journals = []
        if self.journal:
            journals.append(self.folder / "venue.jsonl")
            journals[0].write_text("".join(json.dumps(line) + "\n" for line in self.journal))
        return judge_evidence(self, self, journals)


def build(folder: Path, seed: int) -> World:
    """A world that is exact: repeats, swaps, refused frames, resets of ids, late trades."""
    dice = random.Random(seed)
    world = World(folder, {name: [Part() for _ in range(2 if name == "trades" else 1)] for name in TOPICS})
    now = START_US
    world.journal.append({"conn": 1, "event": "open", "time_us": now, "remote": "r"})
    for partition, symbol in enumerate(("BTCUSDT", "PEPEUSDT")):
        sent: list[dict[str, Any]] = []
        for epoch, first in ((0, 100), (1, 90)):
            now += 1_000_000
            numbers = list(range(first, first + 40))
            dice.shuffle(numbers)  # the second leg is late, a healed trade later still
            times = {number: now + number * 1000 for number in numbers}
            if epoch:  # the first id of a reset has the least time, and was there before
                numbers.remove(first + 10)
                numbers.insert(0, first + 10)
                times = {number: now + (number if number != first + 10 else 0) * 1000 for number in numbers}
            for number in numbers:
                record = trade(
                    symbol, number, times[number], price=Decimal(dice.randrange(1, 10**9)).scaleb(-8)
                )
                world.row("trades", partition, record, now + dice.randrange(-2_000, 5_000), epoch)
                world.journal.append(sent_trade(record))
                sent.append(record)
                if dice.random() < 0.2:
                    again = dice.choice(sent)
                    world.put("trades", partition, frame("trades", again), "duplicate", now)
                    world.journal.append(sent_trade(again))
                if dice.random() < 0.1:
                    world.put("trades", partition, b"\0\0\0\0\1" + dice.randbytes(3), "dlq", now)
        late = trade(symbol, 1, START_US)  # of epoch 0 by its time, after epoch 1 has begun
        world.row("trades", partition, late, now, 0)
        world.journal.append(sent_trade(late))
    update, time_us = 1000, START_US
    for step in range(60):
        update, time_us = update + dice.randrange(1, 5), time_us + 1000
        epoch = int(step >= 40)
        if step == 40:
            update, time_us = 10, time_us + 61_000_000
        record = quote(number=update, time_us=time_us)
        world.row("quotes", 0, record, time_us, epoch)
        world.journal.append(sent_quote(record))
        if dice.random() < 0.2:
            old = quote(number=update - dice.randrange(2), time_us=time_us + 59_000_000)
            world.put("quotes", 0, frame("quotes", old | {"origin": "BACKFILL"}), "duplicate", time_us)
    for number in range(5):
        world.row("reference_data", 0, instrument(f"S{number}", "same id"), now)
        world.row("feed_events", 0, feed_event("same id"), now)
    world.dead_letters.append(b'{"broken')
    world.journal.append({"conn": 1, "seq": 1, "symbol": "BTCUSDT", "kind": "malformed", "text": '{"broken'})
    world.journal.append({"conn": 1, "seq": 2, "symbol": "BTCUSDT", "kind": "kline", "n": 0, "x": True})
    world.journal.append({"conn": 1, "event": "closed", "time_us": now, "by": "server", "reason": "stopped"})
    return world


def sent_trade(record: Mapping[str, Any], connection: int = 1) -> dict[str, Any]:
    time_us = (record["timestamp"] - at(0)) // timedelta(microseconds=1)
    return {
        "conn": connection,
        "seq": 1,
        "stream": "",
        "symbol": record["symbol"],
        "kind": "trade",
        "id": record["source_sequence"],
        "price": f"{record['price']:f}000",
        "qty": f"{record['quantity']:f}",
        "T": time_us,
        "m": record["side"] == "SELL",
    }


def sent_quote(record: Mapping[str, Any], connection: int = 1) -> dict[str, Any]:
    names = {"b": "bid_price", "B": "bid_quantity", "a": "ask_price", "A": "ask_quantity"}
    return {
        "conn": connection,
        "seq": 1,
        "stream": "",
        "symbol": record["symbol"],
        "kind": "bookTicker",
        "u": record["source_sequence"],
        **{short: f"{record[name]:f}" for short, name in names.items()},
    }


def record_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a row was made of."""
    added = (
        "stream_id",
        "kafka_partition",
        "kafka_offset",
        "kafka_timestamp",
        "id_epoch",
        "repair_seq",
        "asset_class",
    )
    return {name: value for name, value in row.items() if name not in added}


def failed(world: World) -> dict[tuple[str, str], tuple[str, ...]]:
    """(subject, name) of the failed checks and their evidence."""
    verdict = world.judge()
    assert verdict.exact == all(check.passed for check in verdict.checks)
    return {(check.subject, check.name): check.evidence for check in verdict.checks if not check.passed}
