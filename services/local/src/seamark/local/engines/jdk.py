"""The JDK that Trino runs on: one that the machine has, because no Python package carries a whole one."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path

from seamark.local.engines.errors import EngineMissingError

_OLDEST_MAJOR = 25
_INSTALLED = ("/usr/lib/jvm/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home")
_ANSWER_SECONDS = 20.0


def find_jdk25(
    environment: Mapping[str, str] = os.environ, installed: Sequence[str] = _INSTALLED
) -> tuple[Path | None, str]:
    """The home of a JDK of version 25 or newer and an empty text, or None and why there is none.

    ``JAVA25_HOME`` is the only place looked at when it is set; else ``JAVA_HOME``, then what matches
    the glob patterns of `installed`. The reason names each place and what is wrong with it.
    """
    if chosen := environment.get("JAVA25_HOME"):
        places = [chosen]
    else:
        places = [
            environment.get("JAVA_HOME", ""),
            *sorted(found for each in installed for found in glob(each)),
        ]
    # Distributions give one JDK several names by links.
    homes = dict.fromkeys(Path(place).resolve() for place in places if place)
    faults = {}
    for home in homes:
        if not (fault := _fault(home)):
            return home, ""
        faults[home] = fault
    looked_at = "; ".join(f"{home}: {fault}" for home, fault in faults.items()) or "none is installed"
    return None, (
        f"Trino needs a JDK of version {_OLDEST_MAJOR} or newer ({looked_at}): "
        "install one, and name its folder in JAVA25_HOME if it is not found"
    )


def require_jdk25() -> Path:
    """The home of such a JDK. Raises EngineMissingError with the reason and what to do about it."""
    jdk, reason = find_jdk25()
    if jdk is None:
        raise EngineMissingError(reason)
    return jdk


def _fault(home: Path) -> str:
    """What keeps `home` from running Trino; empty when nothing does."""
    if not (home / "bin" / "javac").is_file():
        return "has no bin/javac"
    try:
        said = subprocess.run(
            [home / "bin" / "java", "-version"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        return f"its bin/java does not run: {error}"
    version = re.search(r'version "(\d+)', said)
    if version is None:
        return f"its bin/java states no version, but {said.strip()!r}"
    return "" if int(version[1]) >= _OLDEST_MAJOR else f"is version {version[1]}"
