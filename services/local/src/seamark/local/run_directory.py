"""The directory of a run: claimed by one demo at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seamark.local.errors import DemoError


@contextmanager
def claimed(directory: Path, label: str) -> Iterator[Path]:
    """The folder for runs of source `label` in `directory`, ours until the context ends.

    The kernel gives the claim back when this process is gone, however it went. Raises
    DemoError if another demo has it, or it cannot be written to.
    """
    folder = directory.absolute() / label
    lock_file = directory.absolute() / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DemoError(
            f"{error.filename or directory} cannot be written to ({error.strerror}): "
            f"make it writable, or choose another directory with --directory"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode().strip() or "unknown"
            raise DemoError(
                f"another demo runs on {directory} (process {holder}): stop it, "
                f"or choose another directory with --directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield folder
    finally:
        os.close(descriptor)
