"""A real query-gateway process beside a test's market, and what it answers over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import requests

from integration.market import Market
from integration.service import ServiceProcess
from integration.tail import plain
from seamark.local.answers import AnswerFolder
from seamark.local.engines.ports import LOOPBACK

CLIENT_SECONDS = 90.0
"""Longer than any timeout a test gives the gateway: what it says is what is tested."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What came back: an answer, or why there is none."""

    status: int
    header: Mapping[str, Any]
    """The answer's; empty where there is none."""
    table: pa.Table
    """Rows as they came."""
    cursor: str
    next_cursor: str
    error: Mapping[str, Any]
    """`code`, `message`, …; empty for an answer."""

    @property
    def exact(self) -> bool:
        return bool(self.header["exact"])

    @property
    def reason(self) -> str:
        return self.header["reason"] or ""

    def of(self, table: str = "trades") -> Mapping[str, Any]:
        """What was read of a table."""
        return self.header["tables"][table]

    def missing(self) -> dict[int, tuple[int, int | str, str]]:
        """By partition of trades: from, to, reason."""
        return {
            int(gone["partition"].split(".")[1]): (gone["from"], gone["to"], gone["reason"])
            for gone in self.of()["missing"]
        }

    def vector(self, name: str) -> dict[int, int]:
        """H, E or lo of trades by partition of stream 1."""
        return {
            int(where.split(".")[1]): offset
            for where, offset in self.of()[name].items()
            if where.startswith("1.")
        }

    def frame(self) -> pl.DataFrame:
        """Rows with text as text."""
        return plain(self.table)

    def on_both_sides(self) -> bool:
        """Whether rows below H and rows from H on are in it."""
        watermark = self.of()["H"]
        held = pl.DataFrame(
            {
                "stream_id": [int(where.split(".")[0]) for where in watermark],
                "kafka_partition": [int(where.split(".")[1]) for where in watermark],
                "h": [*watermark.values()],
            },
            schema={"stream_id": pl.Int32, "kafka_partition": pl.Int32, "h": pl.Int64},
        )
        place = pl.DataFrame(self.table.select(["stream_id", "kafka_partition", "kafka_offset"]))
        sides = place.join(held, on=["stream_id", "kafka_partition"], how="left").select(
            pl.col("kafka_offset") < pl.col("h").fill_null(0)
        )
        return sides.n_unique() == 2


class GatewayProcess(ServiceProcess):
    """A query-gateway over the tables of a market and its tails. Ends with the `with` block."""

    service = "seamark.query_gateway"
    arguments = ("run",)
    ports = ("http_port", "grpc_port")

    def __init__(
        self, market: Market, folder: Path, tails: Sequence[str], key: str = "", **settings: Any
    ) -> None:
        """`tails`: addresses in the order of ordinals. `key`: what this client shows."""
        given = {
            "tail_addresses": ",".join(tails),
            "auth": "off",
            "cursor_key": "a key that tests share",
            "quota_units_per_second": 1e9,
            "quota_burst": 1e9,
        }
        super().__init__(market, folder, **given | settings)
        self.url = f"http://{LOOPBACK}:{self.settings['http_port']}"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def serving(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=10).ok
        except requests.RequestException:
            return False

    def get(self, path: str, **parameters: Any) -> requests.Response:
        """`timeout_seconds`, `stream` and so on are the question's, never the client's."""
        return requests.get(
            f"{self.url}{path}", params=parameters, headers=self._headers, timeout=CLIENT_SECONDS
        )

    def post(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=body, headers=self._headers, timeout=CLIENT_SECONDS)

    def ask(self, table: str = "trades", **parameters: Any) -> Reply:
        """An answer as Arrow, with all columns unless told otherwise."""
        response = self.get(f"/v1/{table}", format="arrow", **parameters)
        if response.status_code not in (200, 206):
            return Reply(response.status_code, {}, pa.table({}), "", "", response.json())
        reply = Reply(
            response.status_code,
            json.loads(response.headers["seamark-answer"]),
            pa.ipc.open_stream(response.content).read_all(),
            response.headers["seamark-cursor"],
            response.headers.get("seamark-next-cursor", ""),
            {},
        )
        # Of every answer of every test.
        assert response.headers["seamark-exact"] == ("true" if reply.exact else "false")
        partial = any(part["missing"] for part in reply.header["tables"].values())
        assert (reply.status == 206) == partial
        assert not (reply.exact and partial)
        assert reply.exact == (reply.header["reason"] is None)
        return reply

    def running(self) -> list[Mapping[str, Any]]:
        """Queries under way, without this one."""
        return self.get("/v1/queries").json()["queries"]


def keep(folder: AnswerFolder, reply: Reply, table: str = "trades", **asked: Any) -> Reply:
    """For the oracle; gives the reply back. `asked`: as of `AnswerFolder.keep`."""
    folder.keep(table, reply.table, reply.header, **asked)
    return reply
