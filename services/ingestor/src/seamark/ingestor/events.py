"""Feed events in raw form (see `seamark.stream.encode`): those of one session, and what a venue closed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seamark.ingestor.progress import Claim
from seamark.market.identity import interval_event_id, progress_event_id, session_event_id


class SessionEvents:
    """Makes the events of one session: one opened, PROGRESS numbered from 1, one closed."""

    def __init__(
        self,
        exchange: str,
        market: str,
        shard: int,
        leg: str,
        session_id: str,
        topic_ids: Mapping[str, str],
    ) -> None:
        """`topic_ids`: Kafka's id of each topic that a claim may name."""
        self._exchange, self._market, self._shard = exchange, market, shard
        self._leg, self._session_id, self._topic_ids = leg, session_id, topic_ids
        self._progress_count = 0

    @property
    def key(self) -> str:
        """Key of sessions and progress on the topic of feed events."""
        return f"{self._exchange}:{self._market}:{self._shard}"

    def opened(self, now_us: int, symbols: Sequence[str]) -> dict[str, Any]:
        """The connection is there. `detail` says which symbols the shard has."""
        detail = json.dumps({"symbols": list(symbols)}, separators=(",", ":"))
        return self._event("SESSION_OPENED", now_us) | {"detail": detail}

    def progress(self, now_us: int, claim: Claim) -> dict[str, Any]:
        """The session stands where `claim` says."""
        self._progress_count += 1
        acked = [
            {"topic_id": self._topic_ids[topic], "partition": partition, "next_offset": next_offset}
            for (topic, partition), next_offset in sorted(claim.acked.items())
        ]
        event_id = progress_event_id(
            self._exchange, self._market, self._shard, self._session_id, self._progress_count
        )
        return self._event("PROGRESS", now_us) | {
            "event_id": event_id,
            "venue_timestamp": claim.venue_us,
            "acked": acked,
        }

    def closed(self, now_us: int, cause: str, detail: Mapping[str, object]) -> dict[str, Any]:
        """The connection is over."""
        text = json.dumps(detail, separators=(",", ":"))
        return self._event("SESSION_CLOSED", now_us) | {"cause": cause, "detail": text}

    def _event(self, kind: str, now_us: int) -> dict[str, Any]:
        return {
            "event_id": session_event_id(self._exchange, self._market, self._shard, self._session_id, kind),
            "kind": kind,
            "exchange": self._exchange,
            "market": self._market,
            "timestamp": now_us,
            "shard": self._shard,
            "leg": self._leg,
            "session_id": self._session_id,
        }


def interval_closed(
    exchange: str,
    market: str,
    feed: str,
    symbol: str,
    start_us: int,
    end_us: int,
    ids: tuple[int, int] | None,
    now_us: int,
) -> dict[str, Any]:
    """The venue has closed [start_us, end_us) of a feed: all that happened in it are the ids from the first of `ids`
    to the last; None: nothing did."""
    first, last = ids or (None, None)
    trades = 0 if ids is None else ids[1] - ids[0] + 1
    return {
        "event_id": interval_event_id(exchange, market, feed, symbol, start_us, end_us),
        "kind": "INTERVAL_CLOSED",
        "exchange": exchange,
        "market": market,
        "timestamp": now_us,
        "venue_timestamp": end_us,
        "feed": feed,
        "symbol": symbol,
        "first_sequence": first,
        "last_sequence": last,
        "detail": json.dumps({"start_us": start_us, "trades": trades}, separators=(",", ":")),
    }


def symbol_key(exchange: str, symbol: str) -> str:
    """Key, on the topic of feed events, of those that are about one symbol."""
    return f"{exchange}:{symbol}"
