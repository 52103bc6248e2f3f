"""What can be wrong with the log, its names and its bytes."""


class StreamError(ValueError):
    """Something on the log's side does not keep the contract."""


class TopicNameInvalid(StreamError):
    """A name that is not one of a market topic."""


class RecordInvalid(StreamError):
    """A record that its own schema does not allow, before it is sent."""


class DeadLetterInvalid(StreamError):
    """Headers of a dead letter that do not say what they must."""


class ControlUnreadable(Exception):
    """The control topic does not answer, or not to its end; it may be asked again."""


class LogUnavailable(Exception):
    """Kafka does not answer; what was asked may be asked again."""


class Stopped(Exception):
    """A reader cannot go on without a decision by its operator. The text names the way on."""
