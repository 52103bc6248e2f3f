"""The service's README says what the settings, metrics and commands are."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from seamark.consumer_writer.main import main
from seamark.consumer_writer.settings import WriterSettings
from seamark.settings import ENV_PREFIX
from seamark.telemetry.metrics import WriterMetrics

README = (Path(__file__).parents[3] / "services" / "consumer-writer" / "README.md").read_text()
_SETTING = re.compile(rf"^\| `({ENV_PREFIX}\w+)` \| (.+?) \| (.+) \| (.+) \|$", re.MULTILINE)


def shown(field):
    if field.is_required():
        return "needed"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def test_every_setting_is_in_the_table_with_its_default_and_what_is_allowed():
    documented = [row[:3] for row in _SETTING.findall(README)]
    assert documented == [
        (f"{ENV_PREFIX}{name.upper()}", shown(field), field.description)
        for name, field in WriterSettings.model_fields.items()
    ]


def test_every_metric_named_is_one_of_the_writers():
    registry = CollectorRegistry()
    WriterMetrics(registry)
    # A counter's family has no _total.
    known = {family.name.removeprefix("seamark_writer_") for family in registry.collect()}
    section = README.split("## Metrics")[1].split("## Parts")[0]
    named = {name.removesuffix("_total") for name in re.findall(r"`(?:seamark_writer|…)_(\w+)`", section)}
    assert named
    assert named <= known


@pytest.mark.parametrize("command", ["run", "init", "adopt"])
def test_every_command_is_described(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"seamark {command}" in capsys.readouterr().out
    assert f"\n| `{command}" in README
