"""What can be wrong with names and bytes of the log."""


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
