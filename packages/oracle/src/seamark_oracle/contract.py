"""The oracle's own copy of the record contracts, and the numbers its rules are made of."""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

DECIMAL_SCALE = 10
DECIMAL_LIMIT = 10**28
"""decimal(28,10): the unscaled number lies strictly between minus this and this."""

TIME_LIMIT_US = 7_258_118_400_000_000
"""Times lie in [1970-01-01, 2200-01-01)."""

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""Days since 1970 of 0001-01-01 and 9999-12-31: between them lie the dates that SQL knows."""

QUOTE_RESET_US = 60_000_000


class Type(Enum):
    """What a field holds."""

    TEXT = "text"
    TEXTS = "list of text"
    ENUM = "one of named symbols"
    INT = "32 bits"
    LONG = "64 bits"
    DATE = "days since 1970, 32 bits"
    MICROS = "microseconds since 1970"
    DECIMAL = "unscaled number at scale 10"
    ACKED = "list of (topic id, partition, next offset)"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record, in wire order."""

    name: str
    type: Type
    nullable: bool = False
    symbols: tuple[str, ...] = ()


def _fields(text: str) -> tuple[Field, ...]:
    """`name:type`, a `?` behind the type for nullable, the symbols of an enum in brackets."""
    fields = []
    for item in text.split():
        name, _, kind = item.partition(":")
        nullable, kind = kind.endswith("?"), kind.removesuffix("?")
        symbols: tuple[str, ...] = ()
        if kind.startswith("("):
            kind, symbols = "enum", tuple(kind.strip("()").split("|"))
        fields.append(Field(name, Type[kind.upper()], nullable, symbols))
    return tuple(fields)


_HEAD = (
    "exchange:text market:text feed:text symbol:text source_sequence:long? native_id:text? timestamp:micros"
)
_TIMES = "published_timestamp:micros? ingestion_timestamp:micros"
_ORIGIN = "origin:(STREAM|BACKFILL|ARCHIVE)"

RECORDS = MappingProxyType(
    {
        "trades": _fields(
            f"{_HEAD} {_TIMES} price:decimal quantity:decimal currency:text side:(BUY|SELL|SELL_SHORT|UNKNOWN) "
            f"trade_conditions:texts? {_ORIGIN} correction_of:text? vendor_data:text?"
        ),
        "quotes": _fields(
            f"{_HEAD} {_TIMES} timestamp_source:(VENUE|RECEIVE) bid_price:decimal bid_quantity:decimal "
            f"ask_price:decimal ask_quantity:decimal currency:text {_ORIGIN} vendor_data:text?"
        ),
        "reference_data": _fields(
            "event_id:text exchange:text market:text symbol:text timestamp:micros ingestion_timestamp:micros "
            "status:text base_currency:text? currency:text tick_size:decimal? step_size:decimal? native_id:text? "
            "name:text? isin:text? listing_date:date? delisting_date:date? vendor_data:text?"
        ),
        "feed_events": _fields(
            "event_id:text kind:(SESSION_OPENED|SESSION_CLOSED|PROGRESS|GAP_OPEN|GAP_HEALING|GAP_HEALED|"
            "GAP_EXPECTED_HOLE|GAP_UNHEALABLE|INTERVAL_CLOSED) exchange:text market:text timestamp:micros shard:int? leg:text? "
            "session_id:text? venue_timestamp:micros? acked:acked? feed:text? symbol:text? gap_id:text? "
            "first_sequence:long? last_sequence:long? cause:text? detail:text?"
        ),
    }
)
"""Table name to the fields of its records."""

SCHEMA_IDS = MappingProxyType(
    {1: "trades", 2: "quotes", 3: "reference_data", 4: "feed_events", 5: "feed_events"}
)
"""Schema id on the wire to the table of such records, where no registry is configured."""

EVENT_KINDS = MappingProxyType({4: 8})
"""Schema id to how many kinds of feed events it knows, where later ones know more: 4 has no INTERVAL_CLOSED."""

FEEDS = MappingProxyType(
    {"trades": ("binance", "spot", "trade"), "quotes": ("binance", "spot", "bookTicker")}
)
"""The one feed whose ids first occurrence is defined for, by table."""

MAX_BYTES = MappingProxyType({"exchange": 64, "market": 64, "feed": 64, "symbol": 64, "event_id": 256})
"""Texts that may not be empty, and how many bytes they may have."""


def asset_class_of(topic: str) -> str:
    """What the topic's name says: `market.<asset class>.…`, or `all` for the shared feed events."""
    return "all" if topic == "market.feed_events" else topic.split(".")[1]
