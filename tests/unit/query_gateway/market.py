"""A market that a test moves by hand: trades, and what legs say of them, beside what they must come to."""

from __future__ import annotations

from itertools import groupby

from seamark.market.schema import RecordKind
from seamark.query_gateway.finality import Event
from seamark.query_gateway.question import BarsQuestion, Latest
from unit.query_gateway.rows import instant
from unit.query_gateway.settling import by_definition, steps_of
from unit.query_gateway.tables import NOW_US, Tables

TRADES, EVENTS = RecordKind.TRADES, RecordKind.FEED_EVENTS
SECOND = 1_000_000
MINUTE = 60 * SECOND
SYMBOLS = ("AAA", "BBB")


class Market:
    """Trades and what legs say, appended one after another; kept beside as plain tuples."""

    def __init__(self):
        self.tables = Tables()
        self.trades = []  # (symbol, time, price, where, offset, appended)
        self.events = []
        self.number = 0

    def trade(self, symbol, time_us, price=1, number=None, **values):
        """`number`: the venue's; else one that rises with each thing that happens."""
        self.number += 1
        values |= {"symbol": symbol, "timestamp": time_us, "price": price, "quantity": 1}
        values |= {"source_sequence": self.number if number is None else number}
        where, offset = self.tables.append(TRADES, symbol, **values)
        self.trades.append((symbol, time_us, price, where, offset, self.tables.now_us))

    def say(self, kind, leg="a", session=1, venue_us=None, behind=0, shard=0, symbols=SYMBOLS):
        """`behind`: so many records of each partition are not acknowledged yet."""
        acked = []
        if kind == "PROGRESS":
            (topic_id,) = {stream.topic_id for stream in self.tables.lakes[TRADES].view.streams.values()}
            acked = [
                {"topic_id": topic_id, "partition": partition, "next_offset": max(0, len(records) - behind)}
                for partition, records in enumerate(self._records())
            ]
        name = f"{leg}-{shard}-{session}"
        self.number += 1
        self.tables.append(
            EVENTS,
            f"binance:spot:{shard}",
            event_id=f"{self.number}",
            kind=kind,
            shard=shard,
            leg=leg,
            session_id=name,
            timestamp=self.tables.now_us,
            venue_timestamp=venue_us,
            acked=acked or None,
            detail='{"symbols":["' + '","'.join(symbols) + '"]}' if kind == "SESSION_OPENED" else None,
        )
        places = tuple((one["topic_id"], one["partition"], one["next_offset"]) for one in acked)
        self.events.append(Event(kind, self.tables.now_us, leg, name, venue_us, places))

    def close_minute(self, symbol, start_us, ids, **values):
        """A leg says what the venue counted: all ids from the first to the last of `ids`; None: no trades."""
        (first, last), count = (ids, ids[1] - ids[0] + 1) if ids else ((None, None), 0)
        self.tables.append(
            EVENTS,
            f"binance:{symbol}",
            **{
                "event_id": f"{symbol}:{start_us}",
                "kind": "INTERVAL_CLOSED",
                "feed": "trade",
                "symbol": symbol,
                "timestamp": self.tables.now_us,
                "venue_timestamp": start_us + MINUTE,
                "first_sequence": first,
                "last_sequence": last,
                "detail": f'{{"start_us":{start_us},"trades":{count}}}',
            }
            | values,
        )

    def _records(self):
        lake = self.tables.lakes[TRADES]
        return lake.log.topics[lake.topic].records

    def bars(self, symbol="AAA", seconds=20, consistency=Latest(), **question):
        """(start, close, trades, state) of each bar."""
        header, table = self.answer(symbol, seconds, consistency, **question)
        return header, [
            (start_of(row), int(row["close"]), row["trades"], row["state"]) for row in table.to_pylist()
        ]

    def complete(self, symbol="AAA", consistency=Latest(), **question):
        """Whether bars are complete, by start."""
        _, table = self.answer(symbol, 20, consistency, **question)
        return {start_of(row): row["complete"] for row in table.to_pylist()}

    def answer(self, symbol, seconds, consistency, **question):
        asked = BarsQuestion(
            **{
                "exchange": "binance",
                "market": "spot",
                "symbol": symbol,
                "interval": "1s",
                "consistency": consistency,
            }
            | {"from_us": NOW_US, "to_us": NOW_US + seconds * SECOND}
            | question
        )
        return self.tables.ask(lambda call: self.tables.gateway.bars(asked, call))

    def by_hand(self, symbol="AAA", seconds=20, until_us=2**62):
        """Of what was appended until then: (start, close, trades, state)."""
        times = range(NOW_US, NOW_US + seconds * SECOND)
        rows = [row for row in self.trades if row[0] == symbol and row[1] in times and row[5] <= until_us]
        rows.sort(key=lambda row: row[1])  # of equal times the venue's number decides, which rises here
        steps = steps_of([event for event in self.events if event.appended_us <= until_us])
        stream = self.tables.lakes[TRADES].view.streams[1]
        partition = self.tables.place(TRADES, symbol).partition
        end = sum(row[3].partition == partition and row[5] <= until_us for row in self.trades)
        found = []
        for start, group in groupby(rows, key=lambda row: row[1] // SECOND * SECOND):
            trades = list(group)
            acked = by_definition(steps, start + SECOND)
            limit = None if acked is None else acked.get((stream.topic_id, partition), 0)
            if limit is None or limit > end:
                state = "provisional"
            else:
                state = "revised" if any(row[4] >= limit for row in trades) else "final"
            found.append((start, trades[-1][2], len(trades), state))
        return found

    def close(self):
        self.tables.runner.close()


def start_of(row):
    return round((row["start"] - instant(0)).total_seconds() * SECOND)
