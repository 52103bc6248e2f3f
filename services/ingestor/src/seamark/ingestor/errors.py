"""What ends a leg, or makes it try again."""


class IngestorError(Exception):
    """Anything a leg gives up on."""

    exit_code = 1


class SettingRefused(IngestorError):
    """What was asked for cannot be right: the same start will fail the same way."""

    exit_code = 2


class RoutingMismatch(SettingRefused):
    """The published routing of a topic is missing, or not the one this leg would use."""


class KafkaUnavailable(IngestorError):
    """Kafka did not answer in time, or has given up on this producer."""


class NotDrained(IngestorError):
    """Kafka did not acknowledge everything before the deadline."""


class OutOfRoom(IngestorError):
    """As many records wait for acknowledgement as may."""


class VenueUnavailable(IngestorError):
    """The venue does not answer, or asks to wait: worth another try."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the venue asked for; 0 if it did not."""
