"""Which JDK is taken, and what is said when there is none."""

from pathlib import Path

import pytest

from seamark.local.engines.jdk import find_jdk25


@pytest.fixture
def install(tmp_path):
    """``install("name", says='openjdk version "25.0.3"')`` makes a JDK's folder and returns it."""

    def make(name: str, says: str, javac: bool = True) -> Path:
        programs = tmp_path / name / "bin"
        programs.mkdir(parents=True)
        (programs / "java").write_text(f"#!/bin/sh\necho '{says}' >&2\n")
        (programs / "java").chmod(0o755)
        if javac:
            (programs / "javac").touch()
        return tmp_path / name

    return make


@pytest.mark.parametrize("version", ["25", "25.0.3", "26-ea", "100.1"])
def test_version_25_and_every_newer_one_will_do(install, tmp_path, version):
    home = install("jdk", f'openjdk version "{version}" 2026-04-21')
    assert find_jdk25({}, [f"{tmp_path}/*"]) == (home, "")


@pytest.mark.parametrize("version", ["24.0.2", "17.0.1", "1.8.0_402", "2"])
def test_older_version_is_refused_by_name(install, tmp_path, version):
    home = install("jdk", f'openjdk version "{version}"')
    found, reason = find_jdk25({}, [f"{tmp_path}/*"])
    assert found is None
    assert f"{home}: is version {version.split('.')[0]}" in reason


def test_runtime_without_compiler_is_refused(install, tmp_path):
    install("jre", 'openjdk version "25"', javac=False)
    found, reason = find_jdk25({}, [f"{tmp_path}/*"])
    assert found is None
    assert "has no bin/javac" in reason


def test_java_that_does_not_run_is_refused(install, tmp_path):
    home = install("jdk", "unused")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 3\n")
    found, reason = find_jdk25({}, [f"{tmp_path}/*"])
    assert found is None
    assert "its bin/java does not run" in reason


def test_java_that_states_no_version_is_refused(install, tmp_path):
    install("jdk", "hello")
    found, reason = find_jdk25({}, [f"{tmp_path}/*"])
    assert found is None
    assert "states no version, but 'hello'" in reason


def test_java25_home_goes_before_java_home_and_that_before_what_is_installed(install, tmp_path):
    first, second, third = (install(name, 'openjdk version "25"') for name in ("c", "b", "a"))
    pattern = [str(third)]
    assert find_jdk25({"JAVA25_HOME": str(first), "JAVA_HOME": str(second)}, pattern) == (first, "")
    assert find_jdk25({"JAVA_HOME": str(second)}, pattern) == (second, "")
    assert find_jdk25({"JAVA_HOME": ""}, pattern) == (third, "")


def test_java_home_of_an_older_version_is_passed_over(install):
    old, new = install("old", 'openjdk version "17"'), install("new", 'openjdk version "25"')
    assert find_jdk25({"JAVA_HOME": str(old)}, [str(new)]) == (new, "")


def test_java25_home_that_will_not_do_is_not_passed_over(install):
    old, new = install("old", 'openjdk version "17"'), install("new", 'openjdk version "25"')
    found, reason = find_jdk25({"JAVA25_HOME": str(old)}, [str(new)])
    assert found is None
    assert "is version 17" in reason


def test_no_java_at_all_is_said_with_the_way_out(tmp_path):
    found, reason = find_jdk25({}, [f"{tmp_path}/*"])
    assert found is None
    assert "none is installed" in reason
    assert "JAVA25_HOME" in reason
