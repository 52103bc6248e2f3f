"""What sequencing can fail with."""


class StateCorrupt(ValueError):
    """A state file that is not what was written: rebuild the state from history."""
