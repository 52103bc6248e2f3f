"""Records that no reader can decode, kept in the dead-letter topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from confluent_kafka import KafkaError, Message, Producer

from seamark.stream.deadletter import DeadLetter, LogPosition, to_headers
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Run
from seamark.stream.topics import DEAD_LETTERS
from seamark.stream.wire import FRAME_BYTES

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0


class DeadLetters(Protocol):
    """Where records that no reader can decode are kept."""

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        """Queue the records at these positions of `run`, each with its error."""
        ...

    def flush(self) -> None:
        """Return when all sent records are acknowledged. Raises LogUnavailable."""
        ...


class KafkaDeadLetters:
    """Sends refused records to the dead-letter topic; `flush` waits for their acknowledgement."""

    def __init__(self, bootstrap: str, on_sent: Callable[[int], None] = lambda count: None) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        self._failed: list[str] = []
        self._on_sent = on_sent

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        for at, reason in rejects.items():
            value = run.values[at]
            framed = value is not None and len(value) >= FRAME_BYTES and value[0] == 0
            schema_id = int.from_bytes(value[1:FRAME_BYTES], "big") if framed and value else None
            position = LogPosition(
                run.where.topic, stream_id, run.where.partition, int(run.offsets[at]), schema_id
            )
            logger.warning("record refused", extra={"position": str(position), "reason": reason})
            self._producer.produce(
                DEAD_LETTERS,
                value=value,
                key=run.keys[at],
                headers=[*to_headers(DeadLetter(position, reason))],
                on_delivery=self._delivered,
            )
        self._producer.poll(0)
        self._on_sent(len(rejects))

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())

    def flush(self) -> None:
        waiting = self._producer.flush(_TIMEOUT_SECONDS)
        if self._failed:
            # Idempotent delivery gave up: the letters are lost, their bytes are still in the log.
            failed, self._failed = self._failed, []
            raise Stopped(
                f"{len(failed)} dead letters were not taken: {failed[0]}; restart to send them again"
            )
        if waiting:
            raise LogUnavailable(f"{waiting} dead letters are not acknowledged after {_TIMEOUT_SECONDS} s")
