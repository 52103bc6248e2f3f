"""Names of the topics: `market.{asset_class}.{data_type}.{exchange}`, and the three that all share."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seamark.market.schema import RecordKind
from seamark.stream.errors import TopicNameInvalid

FEED_EVENTS = "market.feed_events"
DEAD_LETTERS = "market.dlq"
CONTROL = "seamark.control"

ALL_ASSET_CLASSES = "all"
"""`asset_class` of rows from `market.feed_events`: one topic serves every asset class and venue."""

_PART = re.compile(r"[a-z][a-z0-9]*")
_PER_VENUE = {kind.value: kind for kind in RecordKind if kind is not RecordKind.FEED_EVENTS}


@dataclass(frozen=True, slots=True)
class TopicName:
    """What the name of a market topic says."""

    asset_class: str
    kind: RecordKind
    exchange: str | None
    """None for feed events, whose records name their venue themselves."""


def market_topic(asset_class: str, kind: RecordKind, exchange: str) -> str:
    """`market.crypto.trades.binance`; for feed events the shared topic.

    Raises:
        TopicNameInvalid: a part is not lower-case letters and digits.
    """
    for name, part in (("asset class", asset_class), ("exchange", exchange)):
        if not _PART.fullmatch(part):
            raise TopicNameInvalid(
                f"{name} was {part!r}, must be lower-case letters and digits, a letter first"
            )
    if kind is RecordKind.FEED_EVENTS:
        return FEED_EVENTS
    return f"market.{asset_class}.{kind.value}.{exchange}"


def parse_market_topic(topic: str) -> TopicName:
    """The reverse of `market_topic`.

    Raises:
        TopicNameInvalid: the topic carries no market records.
    """
    if topic == FEED_EVENTS:
        return TopicName(ALL_ASSET_CLASSES, RecordKind.FEED_EVENTS, None)
    match topic.split("."):
        case ["market", asset_class, data_type, exchange] if (
            data_type in _PER_VENUE and _PART.fullmatch(asset_class) and _PART.fullmatch(exchange)
        ):
            return TopicName(asset_class, _PER_VENUE[data_type], exchange)
    raise TopicNameInvalid(
        f"topic was {topic!r}, must be {FEED_EVENTS} or market.<asset class>.<data type>.<exchange>, "
        f"data type one of {', '.join(_PER_VENUE)}"
    )


def routing_key(topic: str) -> bytes:
    """Key on the control topic under which the routing of `topic` is published."""
    return f"routing:{topic}".encode()
