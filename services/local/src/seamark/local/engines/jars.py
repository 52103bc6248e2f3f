"""The jars of an engine: exactly those of its ``jars.lock``, fetched once, verified at each use.

A line of ``jars.lock`` is a SHA-256 and a Maven coordinate ``group:artifact:version[:classifier]``. The
repository is Maven Central, or what a ``[repositories]`` section of the user's jgo
configuration names ``central`` (a mirror).
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seamark.local.engines.errors import EngineMissingError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_PARALLEL_DOWNLOADS = 8
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One jar as pinned: its Maven coordinate and the SHA-256 of the file in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""

    @property
    def file_name(self) -> str:
        return "-".join(filter(None, [self.artifact, self.version, self.classifier])) + ".jar"

    def __str__(self) -> str:
        return ":".join(filter(None, [self.group, self.artifact, self.version, self.classifier]))


def read_lock(file: Path) -> list[LockedJar]:
    """The jars of a ``jars.lock`` in its order. Raises EngineMissingError for a malformed line."""
    jars = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        match line.replace(":", " ").split():
            case [sha256, group, artifact, version, *classifier] if (
                len(sha256) == hashlib.sha256().digest_size * 2 and len(classifier) <= 1
            ):
                jars.append(LockedJar(group, artifact, version, sha256, *classifier))
            case _:
                raise EngineMissingError(
                    f"{file} line {number}: {line!r} is not 'SHA256  group:artifact:version[:classifier]'"
                )
    return jars


def class_path(lock: Path, directory: Path, progress: Callable[[str], None]) -> str:
    """`jar_files` as a Java class path."""
    return os.pathsep.join(map(str, jar_files(lock, directory, progress)))


def jar_files(lock: Path, directory: Path, progress: Callable[[str], None]) -> list[Path]:
    """All locked jars in `directory`, in the order of `lock`, fetching the ones that are not there.

    `progress` gets a line for people now and then while files are fetched. Raises
    EngineMissingError naming the jar when one cannot be fetched or is not the pinned file;
    a file that is not the pinned one never stays in `directory`.
    """
    jars = read_lock(lock)
    directory.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not _is_pinned(directory / jar.file_name, jar)]
    if missing:
        progress(f"fetching {len(missing)} of {len(jars)} jars")
        _fetch_all(missing, directory, progress)
    return [directory / jar.file_name for jar in jars]


def _is_pinned(file: Path, jar: LockedJar) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == jar.sha256


def _fetch_all(jars: list[LockedJar], directory: Path, progress: Callable[[str], None]) -> None:
    # Half a second to import, and needed on the first start of a machine only.
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    repositories = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    # On the same file system as its destination, so that each jar arrives by one rename.
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix="fetch-") as arrivals,
        ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
    ):
        maven = MavenContext(repo_cache=Path(arrivals), remote_repos=repositories, timeout=_TIMEOUT_SECONDS)
        fetches = [pool.submit(_fetch, maven, jar, directory) for jar in jars]
        try:
            for done, fetch in enumerate(as_completed(fetches), start=1):
                fetch.result()
                if done % 10 == 0 or done == len(jars):
                    progress(f"fetched {done} of {len(jars)} jars")
        except EngineMissingError:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(maven: "MavenContext", jar: LockedJar, directory: Path) -> None:
    import requests

    artifact = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier)
    try:
        arrived = artifact.resolve()
    except (requests.RequestException, RuntimeError) as error:  # jgo raises RuntimeError for "not found"
        raise EngineMissingError(
            f"cannot fetch {jar} from Maven: {error}. Check the network, or name a mirror as "
            "'central' in the [repositories] section of ~/.config/jgo.conf"
        ) from error
    if not _is_pinned(arrived, jar):
        found = hashlib.sha256(arrived.read_bytes()).hexdigest()
        raise EngineMissingError(
            f"{jar} as fetched has SHA-256 {found}, but {jar.sha256} is pinned: it is not the file this "
            "project was tested with. Check what your Maven mirror serves"
        )
    arrived.replace(directory / jar.file_name)
