"""Settings of a service: environment variables, read and validated once, at start.

Each service has one subclass of `ServiceSettings`. A wrong or missing setting ends the
process before anything is opened, with one line for each that says what is allowed.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, SecretBytes, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "SEAMARK_"
SECRETS_FOLDER = "SEAMARK_SECRETS_DIR"
"""Names a folder with one file per setting, named as its variable: for secrets."""

_BAD_SETTINGS = 2
"""Exit code: the same start will fail the same way."""


def _split(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(part for raw in text.split(",") if (part := raw.strip()))


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Type of a setting that is a list: `a,b, c` -> ("a", "b", "c")."""


class ServiceSettings(BaseSettings):
    """What every service can be told. Immutable.

    Every field of a subclass carries a description that completes the sentence
    "NAME was 'value', must be ..."; a class without one is refused when it is defined.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, case_sensitive=False, extra="ignore", frozen=True, env_ignore_empty=True
    )

    kafka_bootstrap: str = Field(
        pattern=r"^[^\s:,]+:\d{1,5}(,[^\s:,]+:\d{1,5})*$",
        description="host:port of Kafka brokers, separated by commas",
    )
    asset_class: str = Field(
        "crypto", pattern=r"^[a-z][a-z0-9]*$", description="lower-case letters and digits: crypto"
    )
    exchange: str = Field(
        "binance",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="lower-case letters and digits: binance",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    metrics_port: int = Field(0, ge=0, le=65_535, description="a port from 1 to 65535, or 0 for no metrics")
    metrics_host: str = Field("127.0.0.1", min_length=1, description="the address to serve metrics on")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's signature
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if not field.description:
                raise TypeError(f"setting {cls.__name__}.{name} has no description of what is allowed")

    @classmethod
    def load(cls) -> Self:
        """The settings of this process.

        Raises:
            SystemExit: with code 2, after one line on standard error for each wrong setting.
        """
        try:
            return cls(_secrets_dir=os.environ.get(SECRETS_FOLDER))  # type: ignore[call-arg]
        except ValidationError as error:
            sys.stderr.write("".join(f"{line}\n" for line in cls._complaints(error)))
            raise SystemExit(_BAD_SETTINGS) from None

    @classmethod
    def _complaints(cls, error: ValidationError) -> list[str]:
        lines: dict[str, str] = {}
        for detail in error.errors():
            name = str(detail["loc"][0]).lower() if detail["loc"] else ""
            field = cls.model_fields.get(name)
            reason = detail.get("ctx", {}).get("error") if detail["type"] == "value_error" else None
            if field is None:  # a rule over several settings; its own text names them
                lines.setdefault(detail["msg"], str(reason or detail["msg"]))
                continue
            variable = f"{ENV_PREFIX}{name.upper()}"
            if detail["type"] == "missing":
                found = "is not set"
            elif _is_secret(field.annotation):
                found = "has a value that is not shown"
            else:
                found = f"was {detail['input']!r}"
            because = f" ({reason})" if reason else ""
            lines.setdefault(name, f"{variable} {found}, must be {field.description}{because}")
        return list(lines.values())


def _is_secret(annotation: Any) -> bool:  # noqa: ANN401 - any type expression
    return annotation in (SecretStr, SecretBytes) or any(_is_secret(part) for part in get_args(annotation))
