"""Where the market stands, kept over restarts in a small JSON file.

The file is written before a chunk of events is sent: it names the chunk. A run that is killed in
the middle of a chunk leaves it to the next run, which sends all of it again, identically. A run
that is stopped leaves the exact place instead, and nothing is sent again.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from .errors import StateError
from .klines import KlineState


class MarketState(msgspec.Struct, frozen=True):
    """`cursor` is the source's, at the first event not known to be sent.

    `claimed` events from there on may have been sent, with their times moved by `shift_us`.
    """

    source: str
    cursor: dict[str, Any]
    shift_us: int
    claimed: int = msgspec.field(default=0)
    klines: KlineState = KlineState(begins_whole=False)
    """Where minutes stand at `cursor`; files of before there were klines do not say."""


class StateFile:
    """Reads and replaces the state file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, source: str) -> MarketState | None:
        """The state left by an earlier run, None on the first.

        Raises StateError if the file cannot be read or was left by another source.
        """
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=MarketState)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StateError(
                f"state file {self._path} cannot be read: {error}; remove it to begin anew"
            ) from error
        if state.source != source:
            raise StateError(
                f"state file {self._path} belongs to '{state.source}', but the source is '{source}'; "
                "use another state file, or remove this one to begin anew"
            )
        return state

    def save(self, state: MarketState) -> None:
        """Replaces the file atomically: a kill leaves the old state or the new one."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_bytes(msgspec.json.encode(state))
            os.replace(partial, self._path)
        except OSError as error:
            raise StateError(f"state file {self._path} cannot be written: {error}") from error
