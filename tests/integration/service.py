"""A real process of a reading service beside a test's market: its lives, its ports, its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from integration.market import Market, Program, wait_until
from seamark.local.engines.ports import LOOPBACK, kept_ports

_LOG_CHARACTERS = 6_000


class ServiceProcess:
    """A service over the tables of a market, on ports of its own. Ends with the `with` block."""

    service: str
    arguments: tuple[str, ...] = ()
    ports: tuple[str, ...]
    """Of which settings; they stay the same over its lives."""

    def __init__(self, market: Market, folder: Path, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.market = market
        ports = kept_ports(folder, self.ports, {})
        self.settings: dict[str, Any] = market.settings | ports | {"catalog_timeout_seconds": 2} | settings
        self.program = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.resume()  # a stopped process does not go before it runs again
        self.program.kill()

    def _start(self) -> Program:
        return self.market.spares.take(self.arguments, self.settings, self.service)

    def start(self) -> None:
        """Another life on the same addresses; returns at once."""
        self.program = self._start()

    def restart(self) -> None:
        """SIGKILL, and another life that serves."""
        self.program.kill()
        self.start()
        self.await_serving()

    def serving(self) -> bool:
        raise NotImplementedError

    def await_serving(self) -> None:
        self.wait(self.serving, "it serves")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Fails at once, with its log, if it ends meanwhile."""
        wait_until(
            lambda: condition() or self.program.exit_code is not None,
            lambda: f"{what}:\n{self.program.log()[-_LOG_CHARACTERS:]}",
        )
        if self.program.exit_code is not None:
            pytest.fail(f"it ended with {self.program.exit_code}:\n{self.program.log()}")

    def samples(self, port: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Labels and value of each sample of a metric, by the port of that setting."""
        page = requests.get(f"http://{LOOPBACK}:{self.settings[port]}/metrics", timeout=10).text
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == name:
                    yield sample.labels, sample.value
