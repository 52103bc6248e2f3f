"""Reads the control topic: the last word on each key, for writers and producers alike."""

from __future__ import annotations

import logging
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from seamark.stream.errors import ControlUnreadable
from seamark.stream.topics import CONTROL

_log = logging.getLogger(__name__)


def read_control(bootstrap: str, timeout_seconds: float) -> dict[bytes, bytes | None]:
    """The last value of each key; None where it was deleted.

    Raises:
        ControlUnreadable: the topic's end was not reached in time; it may be asked again.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "seamark-control",  # must be there; nothing is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        },
        logger=_log,
    )
    found: dict[bytes, bytes | None] = {}
    deadline = time.monotonic() + timeout_seconds
    try:
        unread = set(consumer.list_topics(CONTROL, timeout=timeout_seconds).topics[CONTROL].partitions)
        if not unread:
            raise ControlUnreadable(f"{CONTROL} has no partitions yet, or is not there")
        consumer.assign([TopicPartition(CONTROL, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            if time.monotonic() > deadline:
                raise ControlUnreadable(
                    f"{CONTROL} could not be read to its end within {timeout_seconds:g} s"
                )
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                if (key := message.key()) is not None:
                    found[key] = message.value()
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise ControlUnreadable(f"{CONTROL} cannot be read: {error.str()}")
    except KafkaException as error:
        raise ControlUnreadable(f"{CONTROL} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return found
