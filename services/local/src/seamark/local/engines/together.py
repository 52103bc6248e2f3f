"""Starting and stopping several engines at once: it takes as long as the slowest of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Engine(Protocol):
    """What every engine offers."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


def start_together(engines: Sequence[Engine]) -> None:
    """Returns when all answer. When one fails to, none is left running and its error is raised."""
    try:
        _at_once([engine.start for engine in engines])
    except BaseException:  # Ctrl-C included
        for engine in engines:
            engine.kill()
        raise


def stop_together(engines: Sequence[Engine]) -> None:
    """Returns when none of them runs."""
    _at_once([engine.stop for engine in engines])


def _at_once(actions: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(actions)) as pool:
        running = [pool.submit(action) for action in actions]
    for done in running:  # after all have ended, so that none starts behind a raised error
        done.result()
