"""The command line."""

from pathlib import Path

import pytest

from seamark.simulator.settings import parse

NEEDED = ["--journal", "j", "--state", "s"]


def test_faults_are_on_unless_turned_off():
    options = parse(NEEDED)
    assert options.faults.repeat_share == options.faults.swap_share == 0.01
    assert options.faults.malformed_interval_seconds == 60
    quiet = parse([*NEEDED, "--repeat", "0", "--swap", "0", "--malformed-interval-seconds", "0"]).faults
    assert (quiet.repeat_share, quiet.swap_share, quiet.malformed_interval_seconds) == (0, 0, 0)


def test_several_recordings_may_be_given_together_or_one_by_one():
    options = parse([*NEEDED, "--recording", "a", "b", "--recording", "c"])
    assert options.recordings == (Path("a"), Path("b"), Path("c"))


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("2.5", 2.5), ("max", None)])
def test_speed_is_a_factor_or_max(text, speed):
    assert parse([*NEEDED, "--speed", text]).speed == speed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "70000"], "--port: port was '70000', must be a whole number within 0 and 65535"),
        (["--speed", "fast"], "--speed: speed was 'fast', must be a number within 0.01 and 10000, or max"),
        (["--speed", "nan"], "--speed: speed was 'nan'"),
        (["--repeat", "1.5"], "--repeat: a share of trades was '1.5', must be a number within 0 and 1"),
        (["--swap", "-1"], "--swap: a share of trades was '-1'"),
        (["--symbols", "btcusdt"], "--symbols: symbol was 'btcusdt', must be 2 to 20 upper-case"),
        (["--symbols", "AAUSDT,AAUSDT"], "must be distinct"),
        (["--rate-per-second", "0"], "--rate-per-second: frames a second was '0'"),
        (["--recording", "f", "--symbols", "BTCUSDT"], "not allowed with --recording"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(capsys, arguments, told):
    with pytest.raises(SystemExit) as exited:
        parse([*NEEDED, *arguments])
    assert exited.value.code == 2
    assert told in capsys.readouterr().err


def test_journal_and_state_are_needed(capsys):
    with pytest.raises(SystemExit):
        parse([])
    assert "--journal, --state" in capsys.readouterr().err
