"""The service's README says what the settings are."""

import re
from pathlib import Path

from pydantic import SecretStr

from seamark.query_gateway.settings import GatewaySettings
from seamark.settings import ENV_PREFIX

README = (Path(__file__).parents[3] / "services" / "query-gateway" / "README.md").read_text()
_SETTING = re.compile(rf"^\| `({ENV_PREFIX}\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)


def shown(field):
    if field.is_required():
        return "needed"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if value is None:
        return "empty"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def test_every_setting_is_in_the_table_with_its_default_and_what_is_allowed():
    assert _SETTING.findall(README) == [
        (f"{ENV_PREFIX}{name.upper()}", shown(field), field.description)
        for name, field in GatewaySettings.model_fields.items()
    ]
