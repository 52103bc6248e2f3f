"""What can keep the demo from running. Every message says what to do about it."""


class DemoError(Exception):
    """The demo could not start, or a part of it ended by itself."""
