"""The two lists of jars that Trino is put together from."""

import hashlib

from seamark.local.engines.jars import read_lock
from seamark.local.engines.paths import manifest


def locked(part: str) -> dict[str, str]:
    """SHA-256 by file name."""
    jars = read_lock(manifest("trino", f"{part}.jars.lock"))
    hashes = {jar.file_name: jar.sha256 for jar in jars}
    assert len(hashes) == len(jars), "two jars would have one name"
    return hashes


def test_parts_agree_on_every_file_they_share():
    server, iceberg = locked("server"), locked("iceberg")
    shared = server.keys() & iceberg.keys()
    assert shared, "they lie in one folder, so that nothing is fetched twice"
    assert [name for name in shared if server[name] != iceberg[name]] == []


def test_interface_of_plugins_comes_from_the_server_alone():
    assert "trino-spi-483.jar" in locked("server")
    assert "trino-spi-483.jar" not in locked("iceberg")


def test_classifier_tells_two_jars_of_one_version_apart(tmp_path):
    lock = tmp_path / "jars.lock"
    digest = hashlib.sha256().hexdigest()
    lock.write_text(f"{digest}  org.example:thing:1.0\n{digest}  org.example:thing:1.0:classes\n")
    plain, classified = read_lock(lock)
    assert (plain.file_name, classified.file_name) == ("thing-1.0.jar", "thing-1.0-classes.jar")
    assert str(classified) == "org.example:thing:1.0:classes"
