"""Settings: what is wrong is said at once, by name, and nothing secret is said at all."""

import pytest
from pydantic import Field, SecretStr, model_validator

from seamark.settings import CommaSeparated, ServiceSettings


class Example(ServiceSettings):
    symbols: CommaSeparated = Field(("BTCUSDT",), min_length=1, description="symbols, separated by commas")
    password: SecretStr | None = Field(None, min_length=4, description="at least 4 characters")
    low: int = Field(1, description="a whole number")
    high: int = Field(2, description="a whole number")

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError(f"SEAMARK_LOW was {self.low}, must be below SEAMARK_HIGH, which was {self.high}")
        return self


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("SEAMARK_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    return monkeypatch


def complaints(capsys):
    with pytest.raises(SystemExit) as stop:
        Example.load()
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_the_environment_is_read(environment):
    environment.setenv("SEAMARK_SYMBOLS", "BTCUSDT, ETHUSDT,")
    environment.setenv("SEAMARK_METRICS_PORT", "9100")
    settings = Example.load()
    assert settings.symbols == ("BTCUSDT", "ETHUSDT")
    assert (settings.asset_class, settings.exchange, settings.metrics_port) == ("crypto", "binance", 9100)


def test_every_wrong_setting_is_named_once_with_value_and_what_is_allowed(environment, capsys):
    environment.delenv("SEAMARK_KAFKA_BOOTSTRAP")
    environment.setenv("SEAMARK_METRICS_PORT", "70000")
    environment.setenv("SEAMARK_LOG_LEVEL", "LOUD")
    environment.setenv("SEAMARK_SYMBOLS", ",")
    assert complaints(capsys) == [
        "SEAMARK_KAFKA_BOOTSTRAP is not set, must be host:port of Kafka brokers, separated by commas",
        "SEAMARK_LOG_LEVEL was 'LOUD', must be DEBUG, INFO, WARNING or ERROR",
        "SEAMARK_METRICS_PORT was '70000', must be a port from 1 to 65535, or 0 for no metrics",
        "SEAMARK_SYMBOLS was (), must be symbols, separated by commas",
    ]


def test_a_secret_is_never_shown(environment, capsys):
    environment.setenv("SEAMARK_PASSWORD", "abc")
    assert complaints(capsys) == [
        "SEAMARK_PASSWORD has a value that is not shown, must be at least 4 characters"
    ]


def test_a_secret_can_come_from_a_file(environment, tmp_path):
    (tmp_path / "seamark_password").write_text("from a file\n")
    environment.setenv("SEAMARK_SECRETS_DIR", str(tmp_path))
    password = Example.load().password
    assert password is not None
    assert password.get_secret_value() == "from a file"


def test_a_rule_over_several_settings_speaks_for_itself(environment, capsys):
    environment.setenv("SEAMARK_LOW", "5")
    assert complaints(capsys) == ["SEAMARK_LOW was 5, must be below SEAMARK_HIGH, which was 2"]


def test_a_setting_without_a_description_cannot_be_defined():
    with pytest.raises(TypeError, match="Undescribed.extra has no description"):

        class Undescribed(ServiceSettings):
            extra: int = 1
