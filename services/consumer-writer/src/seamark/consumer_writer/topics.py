"""Makes the topics and publishes their routing: the Kafka half of init."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.startup import StartRefused
from seamark.stream.control import read_control
from seamark.stream.errors import ControlUnreadable, LogUnavailable
from seamark.stream.topics import CONTROL, DEAD_LETTERS, market_topic, routing_key

logger = logging.getLogger(__name__)

_DAY_MS = 24 * 3600 * 1000
_TIMEOUT_SECONDS = 15.0
_LARGEST = "max.message.bytes"
_LETTER_ROOM_BYTES = 64 * 1024
"""What a dead letter may hold beside the record that it is about: headers, and another codec's luck."""


def market_topics(asset_class: str, exchange: str) -> dict[str, RecordKind]:
    """The topics that the writer reads, by name."""
    return {market_topic(asset_class, kind, exchange): kind for kind in RecordKind}


def create_topics(
    bootstrap: str, kinds: Mapping[str, RecordKind], partitions: int, replication_factor: int
) -> list[str]:
    """Make what is missing; the names of new topics. Existing topics are not changed here.

    Raises:
        LogUnavailable: Kafka does not make a topic; the text says which and why.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap}, logger=logger)
    wanted = [
        NewTopic(
            topic,
            _partitions(kind, partitions),
            replication_factor,
            config=_market_config(kind, replication_factor),
        )
        for topic, kind in kinds.items()
    ]
    wanted.append(NewTopic(DEAD_LETTERS, 1, replication_factor, config={"retention.ms": str(30 * _DAY_MS)}))
    wanted.append(NewTopic(CONTROL, 1, replication_factor, config={"cleanup.policy": "compact"}))
    made = []
    for topic, future in admin.create_topics(wanted, request_timeout=_TIMEOUT_SECONDS).items():
        try:
            future.result()
            made.append(topic)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise LogUnavailable(f"creating topic {topic}: {error}") from error
    return made


def _partitions(kind: RecordKind, partitions: int) -> int:
    return partitions if kind.sequenced else 1


def _market_config(kind: RecordKind, replication_factor: int) -> dict[str, str]:
    days = 7 if kind.sequenced else 30
    config = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(days * _DAY_MS),
        "unclean.leader.election.enable": "false",
    }
    if replication_factor > 1:
        config["min.insync.replicas"] = "2"
    return config


def check_topics(bootstrap: str, topics: Collection[str], replication_factor: int) -> None:
    """Refuse topics with settings that the writer cannot live with.

    Raises:
        StartRefused: under its settings a topic's offsets are not dense or its rows not safe.
        LogUnavailable: Kafka does not answer, or does not know a new topic everywhere yet.
    """
    for topic, config in _configs(
        AdminClient({"bootstrap.servers": bootstrap}, logger=logger), topics
    ).items():
        required = {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "delete",
            "unclean.leader.election.enable": "false",
        }
        if replication_factor > 1:
            required["min.insync.replicas"] = "2"
        for name, value in required.items():
            if config.get(name) != value:
                raise StartRefused(f"topic {topic}: {name} was {config.get(name)}, must be {value}")


def make_room_for_letters(bootstrap: str, topics: Collection[str]) -> None:
    """Let the dead-letter topic take what the market topics take, and the headers beside it.

    Its limit is raised where it is below that, whoever made the topic; it is never lowered.

    Raises:
        LogUnavailable: Kafka does not answer, does not know a new topic everywhere yet, or refuses.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap}, logger=logger)
    largest = {
        topic: int(config[_LARGEST] or 0)
        for topic, config in _configs(admin, [*topics, DEAD_LETTERS]).items()
    }
    needed = max(largest[topic] for topic in topics) + _LETTER_ROOM_BYTES
    if largest[DEAD_LETTERS] >= needed:
        return
    entry = ConfigEntry(_LARGEST, str(needed), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, DEAD_LETTERS, incremental_configs=[entry])
    try:
        for future in admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT_SECONDS).values():
            future.result()
    except KafkaException as error:
        raise LogUnavailable(f"setting {_LARGEST} of topic {DEAD_LETTERS} to {needed}: {error}") from error
    logger.info("topic changed", extra={"topic": DEAD_LETTERS, _LARGEST: needed})


def _configs(admin: AdminClient, topics: Collection[str]) -> dict[str, dict[str, str | None]]:
    """The settings of topics, by topic."""
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    found = {}
    for resource, future in admin.describe_configs(resources, request_timeout=_TIMEOUT_SECONDS).items():
        try:
            found[resource.name] = {name: entry.value for name, entry in future.result().items()}
        except KafkaException as error:
            raise LogUnavailable(f"reading the settings of topic {resource.name}: {error}") from error
    return found


def publish_routing(bootstrap: str, routings: Sequence[Routing]) -> None:
    """Put routing records on the control topic, for producers to verify. Raises LogUnavailable."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True}, logger=logger
    )
    failed: list[str] = []
    for routing in routings:
        producer.produce(
            CONTROL,
            key=routing_key(routing.topic),
            value=routing.to_json().encode(),
            on_delivery=lambda error, _: failed.append(error.str()) if error else None,
        )
    if producer.flush(_TIMEOUT_SECONDS) or failed:
        raise LogUnavailable(f"publishing routing on {CONTROL}: {failed or 'no answer'}")


def published_routings(bootstrap: str) -> dict[str, Routing]:
    """The last routing record of each topic on the control topic. Raises LogUnavailable."""
    try:
        control = read_control(bootstrap, _TIMEOUT_SECONDS)
    except ControlUnreadable as error:
        raise LogUnavailable(str(error)) from error
    routings = [
        Routing.from_json(value) for key, value in control.items() if value and key.startswith(b"routing:")
    ]
    return {routing.topic: routing for routing in routings}
