"""The promises of KafkaNode that everything else is tested on."""

import socket
import threading

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from seamark.local.engines import EngineDiedError, KafkaNode, PortInUseError

ACKNOWLEDGED_BEFORE_KILL = 500
MOST_IN_FLIGHT = 1000


def offset_and_value(message: Message) -> tuple[int, bytes]:
    offset, value = message.offset(), message.value()
    assert message.error() is None
    assert offset is not None
    assert value is not None
    return offset, value


def read_from_start(bootstrap: str, topic: str, count: int) -> dict[int, bytes]:
    """Value by offset of partition 0, at least `count` of them."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: dict[int, bytes] = {}
        while len(found) < count:
            messages = consumer.consume(count - len(found), timeout=20)
            assert messages, f"{len(found)} records readable, {count} were acknowledged"
            found |= dict(offset_and_value(message) for message in messages)
        return found
    finally:
        consumer.close()


def test_idempotent_producer_rides_through_kill_9_and_loses_nothing(kafka, topic, wait_until):
    name = topic("kill")
    bootstrap = kafka.bootstrap
    acknowledged: dict[int, bytes] = {}
    produced: list[bytes] = []
    stop = threading.Event()

    def delivered(error: object, message: Message) -> None:
        if error is None:
            offset, value = offset_and_value(message)
            acknowledged[offset] = value

    def produce() -> None:
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        while not stop.is_set():
            if len(producer) < MOST_IN_FLIGHT:
                produced.append(str(len(produced)).encode())
                producer.produce(name, produced[-1], partition=0, on_delivery=delivered)
            else:
                producer.poll(0.05)
        producer.flush(60)

    producing = threading.Thread(target=produce)
    producing.start()
    try:
        wait_until(lambda: len(acknowledged) >= ACKNOWLEDGED_BEFORE_KILL, "records are acknowledged")
        kafka.kill()
        before_kill = dict(acknowledged)
        kafka.start()
    finally:
        stop.set()
        producing.join()

    assert kafka.bootstrap == bootstrap, "clients must find it where it was"
    found = read_from_start(bootstrap, name, len(produced))
    assert {offset: found[offset] for offset in before_kill} == before_kill
    assert list(found.values()) == produced, "each record once, in order"
    assert list(found) == list(range(len(produced))), "dense offsets"


def test_clean_stop_and_start_resume_the_directory(tmp_path):
    first = KafkaNode(tmp_path)
    first.start()
    cluster_id = AdminClient({"bootstrap.servers": first.bootstrap}).list_topics(timeout=10).cluster_id
    first.stop()
    assert first.process.exit_code == 143, "SIGTERM was enough"

    second = KafkaNode(tmp_path)
    second.start()
    try:
        assert second.bootstrap == first.bootstrap
        admin = AdminClient({"bootstrap.servers": second.bootstrap})
        assert admin.list_topics(timeout=10).cluster_id == cluster_id
    finally:
        second.kill()


def test_paused_broker_is_silent_until_resumed(kafka):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    admin.list_topics(timeout=10)
    kafka.process.pause()
    try:
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
    finally:
        kafka.process.resume()
    assert admin.list_topics(timeout=20).brokers


def test_taken_port_is_named_with_its_setting(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} \(broker\).*ports\.json"):
            KafkaNode(tmp_path, port=port).start()


def test_second_node_on_a_running_directory_is_refused(kafka):
    with pytest.raises(PortInUseError, match="already runs"):
        KafkaNode(kafka.directory).start()


def test_broker_that_cannot_start_says_why(tmp_path):
    node = KafkaNode(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    with pytest.raises(EngineDiedError, match="Stored node id 7"):
        node.start()
    assert node.process.pid is None
