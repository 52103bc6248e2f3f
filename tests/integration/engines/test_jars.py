"""Only the pinned jars ever reach the class path."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seamark.local.engines.errors import EngineMissingError
from seamark.local.engines.jars import class_path, read_lock
from seamark.local.engines.paths import manifest

GENUINE = b"the genuine jar"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on loopback, named ``central`` the way a user names a mirror. Yields its folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    config = tmp_path / "jgo.conf"
    config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield folder
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "jars.lock"
    file.write_text(f"{hashlib.sha256(GENUINE).hexdigest()}  org.example:thing:1.0\n")
    return file


def publish(mirror: Path, content: bytes) -> None:
    folder = mirror / "org" / "example" / "thing" / "1.0"
    folder.mkdir(parents=True)
    (folder / "thing-1.0.jar").write_bytes(content)
    (folder / "thing-1.0.jar.sha1").write_text(hashlib.sha1(content).hexdigest())


def test_pinned_jar_is_fetched_once(mirror, lock, tmp_path):
    publish(mirror, GENUINE)
    lines: list[str] = []
    expected = str(tmp_path / "jars" / "thing-1.0.jar")
    assert class_path(lock, tmp_path / "jars", lines.append) == expected
    assert class_path(lock, tmp_path / "jars", pytest.fail) == expected
    assert lines == ["fetching 1 of 1 jars", "fetched 1 of 1 jars"]


def test_other_content_under_the_pinned_name_is_refused(mirror, lock, tmp_path):
    publish(mirror, b"something else")
    with pytest.raises(EngineMissingError, match=r"org\.example:thing:1\.0 as fetched has SHA-256"):
        class_path(lock, tmp_path / "jars", lambda _: None)
    assert list((tmp_path / "jars").iterdir()) == []


def test_damaged_jar_in_the_cache_is_fetched_again(mirror, lock, tmp_path):
    publish(mirror, GENUINE)
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "thing-1.0.jar").write_bytes(GENUINE[:4])
    class_path(lock, tmp_path / "jars", lambda _: None)
    assert (tmp_path / "jars" / "thing-1.0.jar").read_bytes() == GENUINE


def test_jar_that_cannot_be_had_is_named(mirror, lock, tmp_path):
    with pytest.raises(EngineMissingError, match=r"cannot fetch org\.example:thing:1\.0"):
        class_path(lock, tmp_path / "jars", lambda _: None)


def test_malformed_lock_line_is_named(tmp_path):
    file = tmp_path / "jars.lock"
    file.write_text("abc  org.example:thing:1.0\n")
    with pytest.raises(EngineMissingError, match="line 1"):
        read_lock(file)


def test_committed_lock_holds_each_jar_once():
    jars = read_lock(manifest("kafka", "jars.lock"))
    names = [jar.file_name for jar in jars]
    assert len(set(names)) == len(names)
    assert "kafka_2.13" in {jar.artifact for jar in jars}
