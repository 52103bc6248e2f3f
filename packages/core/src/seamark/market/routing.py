"""Routing: which partition a key belongs to. It is part of a stream and never changes within one.

Trades and quotes are routed by tier, so that a whole tier can be paused without decoding a
byte; reference data and feed events by the hash of their key alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from seamark.market.errors import RoutingError
from seamark.market.murmur2 import partition_for
from seamark.market.schema import RecordKind

TIER_PATTERN = (1, 1, 2, 3)
"""Partition p has tier TIER_PATTERN[p % 4]: half of the capacity for the top symbols."""
TIERS = (1, 2, 3)
LAST_TIER = 3
"""The tier of every symbol that the tiers file does not name."""


class RoutingMode(Enum):
    """How a key finds its partition."""

    TIERED = "TIERED"
    """The key is a symbol: hashed among the partitions of its tier."""
    KEYED = "KEYED"
    """Hashed among all partitions."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The routing of one topic.

    Raises:
        RoutingError: a part does not hold together.
    """

    topic: str
    mode: RoutingMode
    partitions: int
    tiers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Symbol -> tier 1 or 2. Empty where mode is KEYED."""

    def __post_init__(self) -> None:
        if not self.topic:
            raise RoutingError("topic was empty, must be a topic's name")
        if self.partitions < 1:
            raise RoutingError(f"partitions was {self.partitions}, must be 1 or more")
        if self.mode is RoutingMode.KEYED and self.tiers:
            raise RoutingError(f"tiers had {len(self.tiers)} symbols, must be empty where mode is KEYED")
        for symbol, tier in self.tiers.items():
            if not symbol or tier not in TIERS[:-1]:
                raise RoutingError(
                    f"tier of {symbol!r} was {tier!r}, must be 1 or 2 (unnamed symbols have 3)"
                )

    def partition_of(self, key: str) -> int:
        """Partition of a record key: the symbol, for a tiered topic."""
        data = key.encode()
        if self.mode is RoutingMode.KEYED:
            return partition_for(data, self.partitions)
        among = _partitions_of_tier(self.tiers.get(key, LAST_TIER), self.partitions)
        return among[partition_for(data, len(among))]

    def tier_of(self, partition: int) -> int:
        """Tier of a partition; of a topic without tiers the first, which is never deferred.

        Raises:
            RoutingError: the topic has no such partition.
        """
        if not 0 <= partition < self.partitions:
            raise RoutingError(f"partition was {partition}, must be 0 to {self.partitions - 1}")
        if self.mode is RoutingMode.KEYED:
            return 1
        return TIER_PATTERN[partition % len(TIER_PATTERN)]

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex: equal if and only if the routing is."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON text: names and symbols sorted, no blanks."""
        tiers = {
            str(tier): sorted(_symbols_of(self.tiers, tier)) for tier in sorted(set(self.tiers.values()))
        }
        document = {
            "mode": self.mode.value,
            "partitions": self.partitions,
            "pattern": TIER_PATTERN,
            "tiers": tiers,
            "topic": self.topic,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Routing:
        """The reverse of `to_json`.

        Raises:
            RoutingError: the text is not the JSON of a routing that this build can follow.
        """
        document = _object(text, "routing")
        if unknown := document.keys() ^ {"mode", "partitions", "pattern", "tiers", "topic"}:
            raise RoutingError(f"routing lacks or has {sorted(unknown)}, which it must have or lack")
        topic, partitions = document["topic"], document["partitions"]
        if document["pattern"] != list(TIER_PATTERN):
            raise RoutingError(f"pattern was {document['pattern']!r}, must be {list(TIER_PATTERN)}")
        if document["mode"] not in RoutingMode.__members__:
            raise RoutingError(f"mode was {document['mode']!r}, must be TIERED or KEYED")
        if not isinstance(topic, str) or type(partitions) is not int:
            raise RoutingError(
                f"topic and partitions were {topic!r} and {partitions!r}, must be text and a number"
            )
        return cls(topic, RoutingMode(document["mode"]), partitions, _tiers(document["tiers"]))


def routing_for(topic: str, kind: RecordKind, partitions: int, tiers: Mapping[str, int]) -> Routing:
    """The routing that a new stream of `kind` gets. `tiers` is of no account where mode is KEYED."""
    if kind.sequenced:
        return Routing(topic, RoutingMode.TIERED, partitions, tiers)
    return Routing(topic, RoutingMode.KEYED, partitions)


def parse_tiers(text: str | bytes) -> Mapping[str, int]:
    """Symbol -> tier of a tiers file: `{"1": ["BTCUSDT", ...], "2": [...]}`. Read-only.

    Raises:
        RoutingError: another form, a symbol twice, a tier other than 1 and 2.
    """
    return _tiers(_object(text, "tiers"))


@cache
def bundled_tiers(asset_class: str) -> Mapping[str, int]:
    """The tiers that come with this package: crypto.

    Raises:
        RoutingError: there are none for this asset class.
    """
    folder = files("seamark.market").joinpath("tiers")
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
    if asset_class not in known:
        raise RoutingError(f"asset class was {asset_class!r}, must be one of {', '.join(known)}")
    return parse_tiers(folder.joinpath(f"{asset_class}.json").read_text())


@cache
def _partitions_of_tier(tier: int, partitions: int) -> tuple[int, ...]:
    """Partitions of a tier; where there are too few for it, those of the next more important one."""
    found = tuple(p for p in range(partitions) if TIER_PATTERN[p % len(TIER_PATTERN)] == tier)
    return found or _partitions_of_tier(tier - 1, partitions)


def _symbols_of(tiers: Mapping[str, int], wanted: int) -> list[str]:
    return [symbol for symbol, tier in tiers.items() if tier == wanted]


def _tiers(document: Any) -> Mapping[str, int]:  # noqa: ANN401 - JSON, judged here
    tiers: dict[str, int] = {}
    if not isinstance(document, dict) or not document.keys() <= {"1", "2"}:
        raise RoutingError(f"tiers were {str(document)[:80]!r}, must be an object with lists under 1 and 2")
    for tier, symbols in document.items():
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise RoutingError(f"tier {tier} was {str(symbols)[:80]!r}, must be a list of symbols")
        for symbol in symbols:
            if symbol in tiers:
                raise RoutingError(f"symbol {symbol!r} stands in the tiers twice, must stand there once")
            tiers[symbol] = int(tier)
    return MappingProxyType(tiers)


def _object(text: str | bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise RoutingError(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RoutingError(f"{name} was {str(document)[:80]!r}, must be a JSON object")
    return document
