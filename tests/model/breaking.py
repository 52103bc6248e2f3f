"""Named defects, each put in for as long as a `with` block lasts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

Defect = Callable[[ExitStack], None]


class Defects:
    """Of one side, by name."""

    def __init__(self) -> None:
        self._applied: dict[str, Defect] = {}

    def named(self, name: str) -> Callable[[Defect], Defect]:
        """Decorates what puts a defect in."""

        def register(apply: Defect) -> Defect:
            self._applied[name] = apply
            return apply

        return register

    def __iter__(self) -> Iterator[str]:
        return iter(self._applied)

    @contextmanager
    def broken(self, name: str) -> Iterator[None]:
        with ExitStack() as stack:
            self._applied[name](stack)
            yield


def swap(stack: ExitStack, owner: object, name: str, make: Callable[..., object]) -> None:
    """In place of `owner.name` what `make` makes of it."""
    stack.enter_context(patch.object(owner, name, make(getattr(owner, name))))
