"""What must be true of Kafka before a leg opens a connection: topics, and agreed routings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from seamark.ingestor.errors import KafkaUnavailable, RoutingMismatch, SettingRefused
from seamark.ingestor.publisher import Destination
from seamark.market.errors import RoutingError
from seamark.market.routing import Routing, bundled_tiers, parse_tiers, routing_for
from seamark.market.schema import RecordKind
from seamark.stream.control import read_control
from seamark.stream.errors import ControlUnreadable
from seamark.stream.topics import CONTROL, DEAD_LETTERS, market_topic, routing_key

_log = logging.getLogger(__name__)

_PROBE_SECONDS = 1.0
_REQUEST_SECONDS = 10.0
_FIRST_STEP = "seamark init makes topics and publishes their routing"


def load_tiers(asset_class: str, file: Path | None) -> Mapping[str, int]:
    """Symbol -> tier, of `file` or as bundled. Raises SettingRefused: there are none that can be used."""
    try:
        return bundled_tiers(asset_class) if file is None else parse_tiers(file.read_bytes())
    except (OSError, RoutingError) as error:
        raise SettingRefused(f"SEAMARK_TIERS_FILE was {file or 'unset'}: {error}") from error


async def await_kafka(bootstrap: str, wait_seconds: float) -> AdminClient:
    """A client of a Kafka that answers.

    Raises:
        KafkaUnavailable: it does not within `wait_seconds`.
    """
    # What librdkafka says of every refused connection is summed up in one line of our own.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500})
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            await asyncio.to_thread(admin.list_topics, timeout=_PROBE_SECONDS)
            return admin
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise KafkaUnavailable(
                    f"Kafka at {bootstrap} (SEAMARK_KAFKA_BOOTSTRAP) did not answer within {wait_seconds:g} s "
                    f"(SEAMARK_KAFKA_WAIT_SECONDS): {error.args[0].str()}"
                ) from error
            _log.info("waiting for Kafka at %s", bootstrap)


def find_destinations(
    admin: AdminClient, bootstrap: str, asset_class: str, exchange: str, tiers: Mapping[str, int]
) -> dict[RecordKind, Destination]:
    """Where records of each kind go, once it is certain that everyone routes alike.

    Raises:
        SettingRefused: a topic is not there.
        RoutingMismatch: a published routing is missing or another one.
        KafkaUnavailable: Kafka stopped answering.
    """
    topics = {kind: market_topic(asset_class, kind, exchange) for kind in RecordKind}
    described = _describe(admin, [*topics.values(), DEAD_LETTERS, CONTROL])
    try:
        published = read_control(bootstrap, _REQUEST_SECONDS)
    except ControlUnreadable as error:
        raise KafkaUnavailable(str(error)) from error
    destinations = {}
    for kind, topic in topics.items():
        topic_id, partitions = described[topic]
        own = routing_for(topic, kind, partitions, tiers)
        verify_routing(own, published.get(routing_key(topic)))
        destinations[kind] = Destination(topic, topic_id, own)
    return destinations


def log_ends(
    admin: AdminClient, destinations: Mapping[RecordKind, Destination]
) -> dict[tuple[str, int], int]:
    """Offset of the next record of each partition of trades and quotes. Raises KafkaUnavailable."""
    asked = {
        TopicPartition(one.topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for kind, one in destinations.items()
        if kind.sequenced
        for partition in range(one.routing.partitions)
    }
    # The futures die with the dictionary that holds them.
    futures = admin.list_offsets(asked, request_timeout=_REQUEST_SECONDS)
    try:
        return {
            (place.topic, place.partition): int(future.result(_REQUEST_SECONDS).offset)
            for place, future in futures.items()
        }
    except KafkaException as error:
        raise KafkaUnavailable(f"the ends of the log cannot be asked for: {error.args[0].str()}") from error


def verify_routing(own: Routing, published: bytes | None) -> None:
    """Raises RoutingMismatch unless `published`, the copy on the control topic, is the same routing."""
    if published is None:
        raise RoutingMismatch(
            f"the routing of {own.topic} is not published on {CONTROL}, must be there ({_FIRST_STEP})"
        )
    try:
        agreed = Routing.from_json(published)
    except RoutingError as error:
        raise RoutingMismatch(f"the routing of {own.topic} on {CONTROL} cannot be read: {error}") from error
    if agreed.hash != own.hash:
        raise RoutingMismatch(
            f"routing of {own.topic} was {own.hash[:12]} ({own.partitions} partitions, {len(own.tiers)} "
            f"tiered symbols), must be {agreed.hash[:12]} ({agreed.partitions} partitions, "
            f"{len(agreed.tiers)} tiered symbols) as published on {CONTROL}; "
            f"another routing needs a new stream"
        )


def _describe(admin: AdminClient, topics: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(topic id, number of partitions) of each topic."""
    # The futures die with the dictionary that holds them.
    futures = admin.describe_topics(TopicCollection(list(topics)), request_timeout=_REQUEST_SECONDS)
    described = {}
    for topic in topics:
        try:
            found = futures[topic].result(_REQUEST_SECONDS)
        except KafkaException as error:
            reason = error.args[0]
            if reason.name() == "UNKNOWN_TOPIC_OR_PART":
                raise SettingRefused(
                    f"topic {topic} is not there, must be made first ({_FIRST_STEP})"
                ) from error
            raise KafkaUnavailable(f"topic {topic} cannot be described: {reason.str()}") from error
        described[topic] = str(found.topic_id), len(found.partitions)
    return described
