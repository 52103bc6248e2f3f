"""The oracle finds every defect that is put in: an oracle that cannot fail is worth nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seamark.lake.checkpoint import SUMMARY, Checkpoint, StreamPartition, to_summary
from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import PinnedTable
from seamark_oracle.judge import judge_evidence
from unit.oracle.world import (
    START_US,
    Part,
    World,
    at,
    build,
    failed,
    frame,
    quote,
    record_of,
    sent_trade,
    trade,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build(tmp_path, seed=1)


@pytest.mark.parametrize("seed", range(4))
def test_an_exact_world_passes(tmp_path: Path, seed: int) -> None:
    world = build(tmp_path, seed)
    verdict = world.judge()
    assert verdict.exact, verdict.to_text()
    for table, parts in world.parts.items():
        figures = verdict.figures(table)
        assert figures.in_kafka == sum(len(part.records) for part in parts)
        assert figures.in_iceberg == len(world.rows[table])
        assert figures.duplicates == sum(part.counters["duplicate"] for part in parts)
        assert figures.refused == sum(part.counters["dlq"] for part in parts)
    assert verdict.figures("trades").decimals == 2 * len(world.rows["trades"])
    assert verdict.journal.trades == verdict.journal.trades_in_iceberg == len(world.rows["trades"])
    assert verdict.journal.quotes == verdict.journal.quotes_in_kafka == len(world.rows["quotes"])
    assert verdict.journal.malformed_kept == 1
    assert "EXACT: yes" in verdict.to_text()


def drop(world: World) -> None:
    del world.rows["trades"][17]


def drop_quote(world: World) -> None:
    del world.rows["quotes"][17]


def drop_event(world: World) -> None:
    del world.rows["feed_events"][2]


def double(world: World) -> None:
    world.rows["trades"].append(world.rows["trades"][17])


def above_checkpoint(world: World) -> None:
    last = next(row for row in reversed(world.rows["quotes"]))
    part = world.parts["quotes"][0]
    world.claims["quotes", 0] = {"next": last["kafka_offset"], "written": part.counters["written"] - 1}


def unknown_partition(world: World) -> None:
    world.rows["trades"][3] |= {"kafka_partition": 9}


def duplicate_as_row(world: World) -> None:
    row = world.rows["trades"][0]
    offset = world.put("trades", 0, frame("trades", record_of(row)), "duplicate", 0)
    world.rows["trades"].append(row | {"kafka_offset": offset})


def refused_as_row(world: World) -> None:
    offset = world.put("trades", 0, frame("trades", trade(feed="aggTrade")), "dlq", 0)
    world.rows["trades"].append(world.rows["trades"][0] | {"kafka_offset": offset, "source_sequence": 5_000})


def price(world: World) -> None:
    world.rows["trades"][5]["price"] += Decimal("0.0000000001")


def ask_quantity(world: World) -> None:
    world.rows["quotes"][5]["ask_quantity"] = Decimal("999999999999999999.9999999998")


def tick_size(world: World) -> None:
    world.rows["reference_data"][1]["tick_size"] = None


def side(world: World) -> None:
    world.rows["trades"][5]["side"] = "BUY"


def conditions(world: World) -> None:
    world.rows["trades"][5]["trade_conditions"] = ["a"]


def acked(world: World) -> None:
    world.rows["feed_events"][0]["acked"] = [{"topic_id": "x", "partition": 1, "next_offset": 13}]


def published(world: World) -> None:
    world.rows["trades"][5]["published_timestamp"] += timedelta(microseconds=1)


def asset_class(world: World) -> None:
    world.rows["feed_events"][0]["asset_class"] = "crypto"


def epoch(world: World) -> None:
    world.rows["trades"][-1]["id_epoch"] = 1


def quote_epoch(world: World) -> None:
    world.rows["quotes"][-1]["id_epoch"] = 0


def append_time(world: World) -> None:
    world.rows["quotes"][9]["kafka_timestamp"] -= timedelta(milliseconds=1)


def same_id_twice(world: World) -> None:
    first, second = world.rows["trades"][0], world.rows["trades"][1]
    second["source_sequence"] = first["source_sequence"]


def counter(world: World) -> None:
    counters = world.parts["trades"][0].counters
    world.claims["trades", 0] = {"written": counters["written"] + 1, "duplicate": counters["duplicate"] - 1}


def claimed_append_time(world: World) -> None:
    world.claims["quotes", 0] = {"kafka_timestamp_us": world.parts["quotes"][0].append_us - 1000}


def account(world: World) -> None:
    world.claims["trades", 0] = {"lost": 1}


def beyond_the_log(world: World) -> None:
    part = world.parts["trades"][0]
    world.claims["trades", 0] = {"next": part.end + 3, "lost": 3}


def checkpoint_gone(world: World) -> None:
    world.parts["trades"][1] = Part()
    world.rows["trades"] = [row for row in world.rows["trades"] if not row["kafka_partition"]]
    world.properties["seamark.checkpoint.7.0"] = json.dumps(
        {"next": 1, "leader_epoch": 0, "batch_id": "b", "state": "u/b/1", "kafka_timestamp_us": 0}
        | {"written": 1, "duplicate": 0, "dlq": 0, "shed": 0, "lost": 0}
    )


def unknown_schema(world: World) -> None:
    world.put("trades", 0, frame("trades", trade(), schema_id=99), "dlq", 0)


def delete_file(world: World) -> None:
    world.delete_files = 1


def unsorted(world: World) -> None:
    world.unsorted = True


def excluded_row(world: World) -> None:
    offset = world.rows["trades"][4]["kafka_offset"]
    world.properties["seamark.excluded"] = json.dumps([[1, 0, offset, offset + 1, "SHED", 1]])


def shed_uncounted(world: World) -> None:
    end = world.parts["trades"][0].end
    world.properties["seamark.excluded"] = json.dumps([[1, 0, end - 1, end, "SHED", 1]])


def summary_behind(world: World) -> None:
    parts = world.parts["quotes"][0]
    where, point = StreamPartition(1, 0), Checkpoint(parts.end - 1, 0, "b", 1, parts.append_us)
    world.summary[SUMMARY] = to_summary({where: point}, 0)


def summary_knows_no_loss(world: World) -> None:
    world.properties["seamark.excluded"] = json.dumps([[1, 0, 10_000, 10_001, "LOST", 1]])
    world.summary["seamark.excluded"] = ""


def revision_behind(world: World) -> None:
    world.properties["seamark.revision"] = "1"


def not_sent(world: World) -> None:
    row = world.rows["trades"][6]
    world.journal = [line for line in world.journal if line.get("id") != row["source_sequence"]]


def sent_and_gone(world: World) -> None:
    world.journal.insert(1, sent_trade(trade(number=77_777)))


def sent_otherwise(world: World) -> None:
    line = next(line for line in world.journal if line.get("kind") == "trade")
    for other in world.journal:
        if (other.get("id"), other.get("symbol"), other.get("T")) == (line["id"], line["symbol"], line["T"]):
            other["price"] = "1.5"


def quote_sent_and_gone(world: World) -> None:
    line = next(line for line in world.journal if line.get("kind") == "bookTicker")
    world.journal.insert(1, line | {"u": 55_555})


def quote_sent_otherwise(world: World) -> None:
    line = next(line for line in world.journal if line.get("kind") == "bookTicker")
    line["B"] = "3.0000000001"


def dead_letter_gone(world: World) -> None:
    world.dead_letters[0] = b'{"broke'


OTHERS, DECIMALS = "all other columns equal the log's", "decimals equal the log's"

DEFECTS: list[tuple[Callable[[World], None], str, str]] = [
    (drop, "trades", "no row is missing"),
    (drop, "venue", "every trade sent is in Iceberg"),
    (drop_quote, "quotes", "no row is missing"),
    (drop_event, "feed_events", "no row is missing"),
    (double, "trades", "no offset is there twice"),
    (double, "trades", "every id is there once"),
    (double, "venue", "no trade is in Iceberg twice"),
    (above_checkpoint, "quotes", "no row at or above the checkpoint"),
    (unknown_partition, "trades", "no row at or above the checkpoint"),
    (duplicate_as_row, "trades", "no row that must not be"),
    (duplicate_as_row, "venue", "no trade is in Iceberg twice"),
    (refused_as_row, "trades", "no row that must not be"),
    (price, "trades", DECIMALS),
    (price, "venue", "price, quantity and side of trades equal the venue's"),
    (ask_quantity, "quotes", DECIMALS),
    (tick_size, "reference_data", DECIMALS),
    (side, "trades", OTHERS),
    (side, "venue", "price, quantity and side of trades equal the venue's"),
    (conditions, "trades", OTHERS),
    (acked, "feed_events", OTHERS),
    (published, "trades", OTHERS),
    (asset_class, "feed_events", OTHERS),
    (epoch, "trades", "id_epoch equals the oracle's own"),
    (quote_epoch, "quotes", "id_epoch equals the oracle's own"),
    (append_time, "quotes", "kafka_timestamp is the running maximum"),
    (same_id_twice, "trades", "every id is there once"),
    (counter, "trades", "the checkpoint equals the oracle's own"),
    (claimed_append_time, "quotes", "the checkpoint equals the oracle's own"),
    (account, "trades", "next - start is the sum of the counters"),
    (beyond_the_log, "trades", "every offset below the checkpoint is in the log"),
    (checkpoint_gone, "trades", "next - start is the sum of the counters"),
    (unknown_schema, "trades", "nothing is decided at or behind an unknown schema"),
    (delete_file, "trades", "no delete files"),
    (unsorted, "trades", "rows of a file are in the declared order"),
    (excluded_row, "trades", "no row that must not be"),
    (shed_uncounted, "trades", "the checkpoint equals the oracle's own"),
    (summary_behind, "quotes", "the snapshot's summary says the same"),
    (summary_knows_no_loss, "trades", "the snapshot's summary says the same"),
    (revision_behind, "feed_events", "the snapshot's summary says the same"),
    (not_sent, "venue", "no trade in Iceberg that the venue never sent"),
    (sent_and_gone, "venue", "every trade sent is in Iceberg"),
    (sent_otherwise, "venue", "price, quantity and side of trades equal the venue's"),
    (quote_sent_and_gone, "venue", "every quote sent is in Kafka with its very values"),
    (quote_sent_otherwise, "venue", "no quote in Kafka that the venue never sent"),
    (dead_letter_gone, "venue", "every malformed frame is a dead letter"),
]


@pytest.mark.parametrize(
    ("defect", "subject", "check"), DEFECTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_every_defect_is_reported(
    world: World, defect: Callable[[World], None], subject: str, check: str
) -> None:
    defect(world)
    found = failed(world)
    assert (subject, check) in found, found
    assert found[subject, check], "no evidence"


def one_row_more(pinned: Any) -> None:
    pinned.files[0].record_count += 1


def bound(column: str, side: str, value: object) -> Callable[[Any], None]:
    """The manifest's word on a column of the first file is not what the file has."""

    def spoil(pinned: Any) -> None:
        bounds = pinned.files[0].bounds
        at = next(number for number, each in enumerate(bounds) if each.column == column)
        bounds[at] = bounds[at]._replace(**{side: value})

    return spoil


def columns_exchanged(pinned: Any) -> None:
    ids = pinned.field_ids
    ids["price"], ids["quantity"] = ids["quantity"], ids["price"]


@pytest.mark.parametrize(
    "lie",
    [
        one_row_more,
        bound("kafka_offset", "least", 9),
        bound("symbol", "greatest", "A"),
        bound("price", "greatest", Decimal("0.0000000001")),
        columns_exchanged,
    ],
)
def test_a_file_that_is_not_as_its_manifest_says_is_reported(
    world: World, lie: Callable[[Any], None]
) -> None:
    pin = world.pin

    def lying(table: str) -> PinnedTable:
        pinned = pin(table)
        if table == "trades":
            lie(pinned)
        return pinned

    world.pin = lying  # type: ignore[method-assign]
    assert ("trades", "files are as their manifest says") in failed(world)


def test_a_table_without_a_summary_to_read_from_is_reported(world: World) -> None:
    pin = world.pin
    world.pin = lambda table: replace(pin(table), summary=None)  # type: ignore[method-assign]
    assert ("quotes", "the snapshot's summary says the same") in failed(world)


def test_evidence_names_the_row(world: World) -> None:
    row = world.rows["trades"].pop(17)
    evidence = failed(world)["trades", "no row is missing"]
    assert evidence == (
        f"stream_id 1, kafka_partition {row['kafka_partition']}, kafka_offset {row['kafka_offset']}",
    )


def test_records_above_the_checkpoint_are_waiting_not_missing(world: World) -> None:
    part = world.parts["quotes"][0]
    world.put("quotes", 0, frame("quotes", quote(number=10**6)), "written", 0)
    world.claims["quotes", 0] = {"next": part.end - 1, "written": part.counters["written"] - 1}
    world.journal.clear()
    verdict = world.judge()
    assert verdict.exact, verdict.to_text()
    assert verdict.figures("quotes").waiting == 1


def test_an_excluded_range_is_neither_row_nor_known_to_first_occurrence(world: World) -> None:
    time_us = START_US + 10**9
    record = trade(number=9_000, time_us=time_us)
    offset = world.put("trades", 0, frame("trades", record), "shed", 0)
    world.row("trades", 0, record, time_us, epoch=1)
    world.properties["seamark.excluded"] = json.dumps([[1, 0, offset, offset + 1, "SHED", 1]])
    # The other tables have no such offset in their stream's partition 0 below the checkpoint.
    world.journal.clear()
    verdict = world.judge()
    assert [check for check in verdict.checks if check.subject == "trades" and not check.passed] == []
    assert verdict.figures("trades").excluded == 1


def test_what_the_log_has_lost_is_unproven_and_still_known(world: World) -> None:
    start = world.parts["trades"][0].records[30].offset
    world.log_start["trades"] = start
    verdict = world.judge()
    assert verdict.figures("trades").unproven == 2 * (start - 7)
    assert f"but for {2 * (start - 7)} offsets whose records the log no longer has" in verdict.to_text()
    # Repeats behind the log's start of trades before it are duplicates, as they were.
    assert verdict.exact, verdict.to_text()


def row_not_claimed(part: Part) -> dict[str, int]:
    counters = part.counters
    return {"written": counters["written"] - 1, "duplicate": counters["duplicate"] + 1}


def fewer_duplicates_than_the_log_has(part: Part) -> dict[str, int]:
    return {"duplicate": 0, "dlq": part.counters["dlq"] + part.counters["duplicate"]}


def earlier_than_the_log(part: Part) -> dict[str, int]:
    return {"kafka_timestamp_us": part.append_us - 1000}


@pytest.mark.parametrize("claim", [row_not_claimed, fewer_duplicates_than_the_log_has, earlier_than_the_log])
def test_the_checkpoint_of_a_log_that_lost_its_beginning_is_still_checked(
    world: World, claim: Callable[[Part], dict[str, int]]
) -> None:
    part = world.parts["quotes"][0]
    world.log_start["quotes"] = 30
    assert "duplicate" in part.fates[30:]
    world.journal.clear()
    assert world.judge().exact
    world.claims["quotes", 0] = claim(part)
    assert ("quotes", "the checkpoint equals the oracle's own") in failed(world)


def test_what_was_lost_behind_a_closed_stream_is_not_counted_in_it(world: World) -> None:
    end = world.parts["trades"][0].end
    world.properties["seamark.excluded"] = json.dumps([[1, 0, end, end + 5, "LOST", 1]])
    assert not failed(world)


def test_an_excluded_range_goes_past_an_unknown_schema(world: World) -> None:
    offset = world.put("trades", 0, frame("trades", trade(), schema_id=99), "lost", 0)
    world.row("trades", 0, trade(number=9_000), START_US + 10**9)
    world.journal.append(sent_trade(trade(number=9_000)))
    world.properties["seamark.excluded"] = json.dumps([[1, 0, offset, offset + 1, "LOST", 1]])
    assert {found for found in failed(world) if found[0] in ("trades", "venue")} == set()


def test_no_table_is_not_exact(world: World) -> None:
    with pytest.raises(OracleError, match="tables were none"):
        judge_evidence(world, world, tables=[])


def test_a_cut_connection_promises_nothing(world: World) -> None:
    ending = world.journal[-1]
    world.journal.insert(0, ending | {"conn": 2, "event": "open"})
    world.journal.insert(1, sent_trade(trade(number=77_777), connection=2))
    for event in ("cut", None):
        if event:
            world.journal.append(ending | {"conn": 2, "event": event})
        verdict = world.judge()
        assert verdict.exact, verdict.to_text()
        assert verdict.journal.trades_uncertain == 1
        assert verdict.journal.connections_uncertain == 1


def test_a_line_torn_by_a_kill_is_not_a_frame(world: World, tmp_path: Path) -> None:
    world.judge()
    journal = tmp_path / "venue.jsonl"
    journal.write_text(journal.read_text() + '{"conn":1,"seq":9,"kind":"tra')
    assert judge_evidence(world, world, [journal]).exact


def test_an_append_time_that_steps_back_is_held(world: World) -> None:
    times = [row["kafka_timestamp"] for row in world.rows["trades"] if row["kafka_partition"] == 0]
    assert times == sorted(times)
    raw = [record.append_ms for record in world.parts["trades"][0].records]
    assert raw != sorted(raw)
    assert at(max(raw) * 1000) == times[-1]
    assert world.judge().exact
