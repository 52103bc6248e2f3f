"""Waiting, at start, for what a service cannot run without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from seamark.lake.errors import CatalogUnavailable
from seamark.stream.errors import LogUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")


class StartRefused(Exception):
    """Something that must be there at start is not: the text names it."""


class StoppedAtStart(StartRefused):
    """Nothing is amiss: the process was told to stop while it waited."""


def wait_for(what: str, where: str, ask: Callable[[], T], timeout_seconds: float, stop: threading.Event) -> T:
    """Ask once a second until there is an answer.

    Raises:
        StartRefused: no answer within the time.
        StoppedAtStart: `stop` was set.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return ask()
        except (LogUnavailable, CatalogUnavailable) as error:
            if time.monotonic() >= deadline:
                raise StartRefused(
                    f"{what} at {where} did not answer within {timeout_seconds:g} s: {error}"
                ) from error
            logger.warning("waiting", extra={"for": what, "at": where, "error": str(error)})
        if stop.wait(1.0):
            raise StoppedAtStart(f"stopped while waiting for {what} at {where}")
