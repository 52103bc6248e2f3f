"""The command line: what is refused, and how it is said."""

from pathlib import Path

import pytest

from seamark.local.command import main
from seamark.local.source import Source


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["demo", "--seconds", "3"], "was '3', must be a number from 10"),
        (["demo", "--seconds", "soon"], "was 'soon', must be a number from 10"),
        (["demo", "--seconds", "nan"], "was 'nan', must be a number from 10"),
        (["demo", "--feed", "/nowhere/x.jsonl"], "was '/nowhere/x.jsonl', must be a file that is there"),
        (["demo", "--venue", "paper"], "invalid choice: 'paper'"),
        (["demo", "--venue", "live", "--feed", __file__], "not allowed with"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_demo_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--directory", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"demo: {tmp_path / 'file'}")


def test_trino_without_a_jdk_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA25_HOME", str(tmp_path))
    assert main(["demo", "--trino", "--directory", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"demo: Trino needs a JDK of version 25 or newer ({tmp_path}: has no bin/javac)")
    assert "JAVA25_HOME" in said
    assert not (tmp_path / "run").exists()


def test_engines_have_their_own_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["engines", "--help"])
    assert "engines" in capsys.readouterr().out


def test_every_source_has_a_folder_of_its_own() -> None:
    sources = [
        Source(),
        Source(live=True),
        Source(recording=Path("/a/day.jsonl.gz")),
        Source(recording=Path("/b/day.jsonl.gz")),
    ]
    assert len({source.label for source in sources}) == len(sources)
    assert Source(recording=Path("/a/day.jsonl.gz")).label.startswith("feed-day-")
