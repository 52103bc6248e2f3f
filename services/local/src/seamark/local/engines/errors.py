"""What can go wrong with an engine. Every message says what to do about it."""


class EngineError(Exception):
    """An engine could not be had, started or stopped."""


class EngineMissingError(EngineError):
    """A file an engine needs is not there, cannot be fetched, or is not the pinned one."""


class PortInUseError(EngineError):
    """A port that an engine has to listen on is taken."""


class EngineDiedError(EngineError):
    """The process ended before it was asked to. The message carries the end of its log."""


class EngineNotReadyError(EngineError):
    """The process runs, but did not answer before the deadline."""
