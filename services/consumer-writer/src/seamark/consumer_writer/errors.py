"""What makes the writer stop, each with the way on in its message."""


class WriterError(Exception):
    """Base of the service's errors."""


class Stopped(WriterError):
    """The writer cannot go on without a decision by its operator. The text names the way on."""


class StartRefused(WriterError):
    """Something that must be there at start is not: the text names it."""


class LogUnavailable(WriterError):
    """Kafka does not answer; what was asked may be asked again."""
