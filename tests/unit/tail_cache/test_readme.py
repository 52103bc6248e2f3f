"""The service's README says what the settings and metrics are."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from seamark.settings import ENV_PREFIX
from seamark.tail_cache.settings import TailSettings
from seamark.telemetry.metrics import TailMetrics

README = (Path(__file__).parents[3] / "services" / "tail-cache" / "README.md").read_text()
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
        for name, field in TailSettings.model_fields.items()
    ]


def test_every_metric_is_named():
    registry = CollectorRegistry()
    TailMetrics(registry)
    # A counter's family has no _total.
    known = {family.name.removeprefix("seamark_tail_") for family in registry.collect()}
    section = README.split("## Metrics")[1].split("## Parts")[0]
    named = {name.removesuffix("_total") for name in re.findall(r"`(?:seamark_tail|…)_(\w+)`", section)}
    assert named == known
