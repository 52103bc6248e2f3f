"""Records that no reader can decode, kept in the dead-letter topic."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from seamark.stream.deadletter import DeadLetter, LeftOut, LogPosition, to_headers
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Run
from seamark.stream.topics import DEAD_LETTERS
from seamark.stream.wire import FRAME_BYTES

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 10.0
_POLL_SECONDS = 0.1
LARGEST_SENT_BYTES = 16 * 1024 * 1024
"""What the client hands to a broker at all; above it every broker's own limit on a request is near."""


class DeadLetters(Protocol):
    """Where records that no reader can decode are kept."""

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        """Queue the records at these positions of `run`, each with its error.

        Raises:
            Stopped: none will be taken any more.
        """
        ...

    def flush(self) -> None:
        """Return when all sent records are acknowledged. Raises LogUnavailable or Stopped."""
        ...


@dataclass(frozen=True, slots=True)
class _Sent:
    letter: DeadLetter
    key: bytes | None
    value: bytes | None


class KafkaDeadLetters:
    """Sends refused records to the dead-letter topic; `flush` waits for their acknowledgement.

    `send` is for one thread, `flush` for another. What is sent is never given up while the process
    lives: it is what holds back the commit that counts it.
    """

    def __init__(self, bootstrap: str, stop: threading.Event | None = None) -> None:
        """`stop`: once it is set, nobody waits any more for Kafka to take a letter."""
        self._stop = stop or threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # Kafka being away is waited for, as everywhere
                "message.max.bytes": LARGEST_SENT_BYTES,
                # The topic's limit is on what arrives: records that came compressed go on compressed.
                "compression.type": "lz4",
            },
            logger=logger,
        )
        self._failed: list[str] = []

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        for at, reason in rejects.items():
            value = run.values[at]
            framed = value is not None and len(value) >= FRAME_BYTES and value[0] == 0
            schema_id = int.from_bytes(value[1:FRAME_BYTES], "big") if framed and value else None
            position = LogPosition(
                run.where.topic, stream_id, run.where.partition, int(run.offsets[at]), schema_id
            )
            logger.warning("record refused", extra={"position": str(position), "reason": reason})
            self._produce(_Sent(DeadLetter(position, reason), run.keys[at], value))
        self._producer.poll(0)

    def _produce(self, sent: _Sent) -> None:
        while True:
            try:
                self._producer.produce(
                    DEAD_LETTERS,
                    value=sent.value,
                    key=sent.key,
                    headers=[*to_headers(sent.letter)],
                    on_delivery=partial(self._delivered, sent),
                )
                return
            except BufferError as error:  # a gigabyte waits: reading waits with it
                if self._stop.is_set():
                    raise Stopped(f"stopped while dead letters waited for room: {error}") from None
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                if (smaller := _smaller(sent, error.args[0])) is None:
                    raise Stopped(f"dead letters were not taken: {error.args[0].str()}") from error
                sent = smaller

    def _delivered(self, sent: _Sent, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if (smaller := _smaller(sent, error)) is None:
            self._failed.append(error.str())
            return
        try:
            self._produce(smaller)
        except Stopped as stopped:  # out of a callback it would pass through librdkafka's C frames
            self._failed.append(str(stopped))

    def flush(self) -> None:
        deadline = time.monotonic() + _FLUSH_SECONDS
        # In steps: a stop is not to wait for a Kafka that is away.
        while (waiting := self._producer.flush(_POLL_SECONDS)) and not self._stop.is_set():
            if time.monotonic() > deadline:
                break
        if self._failed:
            # Idempotent delivery gave up: the letters are lost, their bytes are still in the log.
            failed, self._failed = self._failed, []
            raise Stopped(
                f"{len(failed)} dead letters were not taken: {failed[0]}; restart to send them again"
            )
        if waiting:
            # How many, the client does not say: it counts its own log lines with them.
            raise LogUnavailable("dead letters are not acknowledged yet")


def _smaller(sent: _Sent, error: KafkaError) -> _Sent | None:
    """What of a letter may still be taken after `error`: all but its bytes; None: nothing."""
    if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
        return None
    if sent.value is not None:
        logger.warning("dead letter without its value", extra={"position": str(sent.letter.source)})
        return replace(sent, letter=replace(sent.letter, left_out=LeftOut.of(sent.value)), value=None)
    return replace(sent, key=None) if sent.key is not None else None
