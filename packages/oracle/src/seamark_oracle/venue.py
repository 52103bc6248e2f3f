"""From the venue's journal to the lake: what was sent is there, once, and nothing else is."""

import duckdb

from seamark_oracle.checks import offending
from seamark_oracle.evidence import Log
from seamark_oracle.verdict import Check, JournalFigures

DEAD_LETTERS = "market.dlq"
_SUBJECT = "venue"
_VENUE = "exchange = 'binance' AND market = 'spot'"
_TRADE_ROW = 'l.symbol = s.symbol AND l.source_sequence = s.id AND l."timestamp" = s.time_us'
_QUOTE_VALUES = " AND ".join(
    f"k.{name} = s.{name}" for name in ("symbol", "bid_price", "bid_quantity", "ask_price", "ask_quantity")
)
_QUOTE_RECORD = f"k.source_sequence = s.id AND {_QUOTE_VALUES}"


def check_venue(database: duckdb.DuckDBPyConnection, log: Log) -> tuple[JournalFigures, list[Check]]:
    """Compares the journals with both tables and with the log. All of them are loaded."""
    database.execute(
        f"CREATE VIEW venue_trades AS SELECT * FROM lake_trades WHERE {_VENUE} AND origin = 'STREAM'"
    )
    # A refused record has no values; every other one of the log counts here, duplicates too.
    database.execute(
        f"CREATE VIEW venue_quotes AS SELECT * FROM expected_quotes WHERE {_VENUE} AND origin = 'STREAM'"
    )
    lost_letters = _dead_letters_lost(database, log)
    checks = [
        offending(
            database,
            _SUBJECT,
            "every trade sent is in Iceberg",
            f"SELECT symbol, id, time_us FROM sent_trades s WHERE sure "
            f"AND NOT EXISTS (FROM venue_trades l WHERE {_TRADE_ROW})",
        ),
        offending(
            database,
            _SUBJECT,
            "no trade is in Iceberg twice",
            f"SELECT s.symbol, id, time_us, count(*) AS times FROM sent_trades s JOIN venue_trades l "
            f"ON {_TRADE_ROW} GROUP BY ALL HAVING count(*) > 1",
        ),
        offending(
            database,
            _SUBJECT,
            "price, quantity and side of trades equal the venue's",
            f"SELECT s.symbol, id, time_us, s.price AS sent_price, l.price AS price, s.quantity AS sent_quantity, "
            f"l.quantity AS quantity, s.side AS sent_side, l.side AS side "
            f"FROM sent_trades s JOIN venue_trades l ON {_TRADE_ROW} "
            f"WHERE s.price <> l.price OR s.quantity <> l.quantity OR s.side <> l.side",
        ),
        offending(
            database,
            _SUBJECT,
            "no trade in Iceberg that the venue never sent",
            f'SELECT symbol, source_sequence, "timestamp" FROM venue_trades l '
            f"WHERE NOT EXISTS (FROM sent_trades s WHERE {_TRADE_ROW})",
        ),
        offending(
            database,
            _SUBJECT,
            "every quote sent is in Kafka with its very values",
            f"SELECT symbol, id FROM sent_quotes s WHERE sure "
            f"AND NOT EXISTS (FROM venue_quotes k WHERE {_QUOTE_RECORD})",
        ),
        offending(
            database,
            _SUBJECT,
            "no quote in Kafka that the venue never sent",
            f"SELECT symbol, source_sequence, kafka_partition, kafka_offset FROM venue_quotes k "
            f"WHERE NOT EXISTS (FROM sent_quotes s WHERE {_QUOTE_RECORD})",
        ),
        Check(
            _SUBJECT,
            "every malformed frame is a dead letter",
            len(lost_letters),
            tuple(text[:80] for text in lost_letters[:5]),
        ),
    ]
    return _figures(database, len(lost_letters)), checks


def _dead_letters_lost(database: duckdb.DuckDBPyConnection, log: Log) -> list[str]:
    """Malformed frames that must have arrived and are not in the dead-letter topic."""
    sent = [text for (text,) in database.execute("SELECT text FROM sent_malformed WHERE sure").fetchall()]
    wanted = {text.encode() for text in sent}
    topic = log.topic(DEAD_LETTERS) if wanted else None
    for partition, (low, end) in (topic.ranges if topic else {}).items():
        for record in log.read(DEAD_LETTERS, partition, low, end):
            wanted.discard(record.value or b"")
    return [text for text in sent if text.encode() in wanted]


def _figures(database: duckdb.DuckDBPyConnection, letters_lost: int) -> JournalFigures:
    def count(query: str) -> int:
        return int(database.execute(f"SELECT coalesce(({query}), 0)").fetchall()[0][0])

    surely_trades = "SELECT count(*) FROM sent_trades s WHERE sure"
    surely_quotes = "SELECT count(*) FROM sent_quotes s WHERE sure"
    malformed = count("SELECT count(*) FROM sent_malformed WHERE sure")
    trade_record = _TRADE_ROW.replace("l.", "k.")
    return JournalFigures(
        connections=count("SELECT count(*) FROM connections"),
        connections_uncertain=count("SELECT count(*) FROM connections WHERE sure = 0"),
        trade_frames=count("SELECT sum(times) FROM sent_trades"),
        trades=count(surely_trades),
        trades_uncertain=count("SELECT count(*) FROM sent_trades WHERE NOT sure"),
        trades_in_kafka=count(f"{surely_trades} AND EXISTS (FROM expected_trades k WHERE {trade_record})"),
        trades_in_iceberg=count(f"{surely_trades} AND EXISTS (FROM venue_trades l WHERE {_TRADE_ROW})"),
        quote_frames=count("SELECT sum(times) FROM sent_quotes"),
        quotes=count(surely_quotes),
        quotes_in_kafka=count(f"{surely_quotes} AND EXISTS (FROM venue_quotes k WHERE {_QUOTE_RECORD})"),
        quotes_in_iceberg=count(
            f"{surely_quotes} AND EXISTS (FROM lake_quotes k WHERE {_VENUE} AND {_QUOTE_RECORD})"
        ),
        malformed=malformed,
        malformed_kept=malformed - letters_lost,
    )
