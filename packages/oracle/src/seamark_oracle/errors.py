"""Why the oracle cannot judge. What it finds wrong is a failed check, never an exception."""


class OracleError(Exception):
    """The evidence cannot be read: an unreachable engine, a damaged journal, a missing table."""
