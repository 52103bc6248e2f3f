"""What can be wrong with what the simulator was given."""


class SimulatorError(Exception):
    """Root of the domain errors; the message names the thing, its value and what is allowed."""


class RecordingError(SimulatorError):
    """A recording cannot be read or holds no trade or book ticker."""


class StateError(SimulatorError):
    """The state file is unreadable, or belongs to another market."""


class JournalError(SimulatorError):
    """The journal cannot be opened for appending."""
