"""The gateway's whole life: settings, parts, wiring, serve, drain. And the command that makes API keys."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import uvloop
from prometheus_client import CollectorRegistry
from pyiceberg.catalog import Catalog

from seamark.lake.errors import LakeError
from seamark.lake.iceberg import open_catalog
from seamark.query_gateway.access import Access
from seamark.query_gateway.answers import AnswerLimits
from seamark.query_gateway.audit import Audit
from seamark.query_gateway.auth import Keys, KeysInvalid, Role, new_key
from seamark.query_gateway.compose import build
from seamark.query_gateway.grpc_api import SERVICE, MarketDataService
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.app import create_app
from seamark.query_gateway.http.server import http_server
from seamark.query_gateway.quotas import Quota, Quotas
from seamark.query_gateway.running import Registry
from seamark.query_gateway.settings import GatewaySettings
from seamark.rpc.server import serve as serve_grpc
from seamark.rpc.v1.market_data_pb2_grpc import add_MarketDataServiceServicer_to_server
from seamark.startup import StartRefused, wait_for
from seamark.telemetry import logs
from seamark.telemetry.metrics import GatewayMetrics
from seamark.telemetry.metrics import serve as serve_metrics

logger = logging.getLogger(__name__)

_WORK_THREADS = 8
"""That plan, put in order and encode, beside those that wait for direct reads."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 refused with a reason, 2 wrong settings or arguments."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == "key":
        return _new_key(parsed.name, parsed.role or [Role.READER.value])
    settings = GatewaySettings.load()
    logs.configure("query-gateway", settings.log_level)
    try:
        uvloop.run(run(settings))
    except (StartRefused, KeysInvalid, LakeError) as error:
        logger.critical("stopped", extra={"reason": str(error)})
        print(f"query-gateway: {error}", file=sys.stderr)  # noqa: T201 - for the operator's eyes
        return 1
    return 0


async def run(settings: GatewaySettings) -> None:
    """Answer until SIGTERM or SIGINT; then answers under way may end.

    Raises:
        StartRefused, KeysInvalid: with the reason.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    stopped = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        stopped.set()

    # Direct reads, planning and encoding share these; what waits for Kafka or Trino has its own (`threads.py`).
    loop.set_default_executor(ThreadPoolExecutor(settings.read_threads + _WORK_THREADS, "answer"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    metrics_registry = CollectorRegistry()
    metrics = GatewayMetrics(metrics_registry)
    # What can be refused without waiting for others is refused first.
    access = _access(settings, metrics)
    listener = _listener(settings.http_host, settings.http_port)
    try:
        _serve_metrics(settings, metrics_registry)
        core = build(settings, await asyncio.to_thread(_catalog, settings, stop))
        limits = _limits(settings)
        api = Api(core.gateway, access, limits, stopped.is_set)
        http = http_server(create_app(api, metrics_registry, settings.body_bytes), settings.drain_seconds)
        service = MarketDataService(core.gateway, access, limits)
        grpc_address = f"{settings.grpc_host}:{settings.grpc_port}"
        try:
            grpc = await serve_grpc(
                grpc_address, {SERVICE: partial(add_MarketDataServiceServicer_to_server, service)}
            )
        except OSError as error:
            raise StartRefused(f"SEAMARK_GRPC_PORT was {settings.grpc_port}: {error}") from error
        await core.start()
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        await grpc.set_ready(True)
        http_port = listener.getsockname()[1]
        logger.info(
            "answering",
            extra={
                "http": f"http://{settings.http_host}:{http_port}",
                "grpc_port": grpc.port,
                "auth": settings.auth,
            },
        )
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait((waiting, serving), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        http.should_exit = True
        await asyncio.gather(serving, grpc.stop(settings.drain_seconds))
        await core.close()
    finally:
        listener.close()
        access.audit.close()


def _access(settings: GatewaySettings, metrics: GatewayMetrics) -> Access:
    quota = Quota(settings.quota_units_per_second, settings.quota_burst, settings.quota_concurrency)
    keys = None
    if settings.auth == "off":
        logger.warning("authentication is off: everybody on this machine may ask everything")
    else:
        assert settings.keys_file is not None  # as settings check
        keys = Keys(settings.keys_file, quota)
    try:
        audit = Audit(settings.audit_file, metrics.audit_dropped)
    except OSError as error:
        raise StartRefused(f"SEAMARK_AUDIT_FILE was {settings.audit_file}: {error.strerror}") from error
    return Access(keys, Quotas(most_beginning=settings.concurrent_beginnings), Registry(), audit, metrics)


def _limits(settings: GatewaySettings) -> AnswerLimits:
    return AnswerLimits(
        page_rows=settings.page_rows,
        default_rows=settings.default_rows,
        export_rows=settings.export_rows,
        join_rows=settings.join_rows,
        write_timeout_seconds=settings.write_timeout_seconds,
        timeout_seconds=settings.timeout_seconds,
        most_timeout_seconds=settings.most_timeout_seconds,
    )


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2_048)
    except OSError as error:
        raise StartRefused(
            f"SEAMARK_HTTP_PORT was {port}, must be free on {host}: {error.strerror or error}"
        ) from error


def _serve_metrics(settings: GatewaySettings, registry: CollectorRegistry) -> None:
    try:
        serve_metrics(registry, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise StartRefused(
            f"SEAMARK_METRICS_PORT was {settings.metrics_port}, must be free on {settings.metrics_host}: {error}"
        ) from error


def _catalog(settings: GatewaySettings, stop: threading.Event) -> Catalog:
    return wait_for(
        "the catalog",
        settings.catalog_uri,
        lambda: open_catalog(
            settings.catalog_name, settings.catalog_properties(), settings.catalog_timeout_seconds
        ),
        settings.start_timeout_seconds,
        stop,
    )


def _new_key(name: str, roles: Sequence[str]) -> int:
    try:
        key, line = new_key(name, [Role(role) for role in roles])
    except KeysInvalid as error:
        print(f"query-gateway: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"# The key of {name}, shown this once:\n{key}\n# For the keys file:\n{line}")  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("seamark.query_gateway", description="Exact answers over HTTP and gRPC.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("run", help="answer until stopped (also without a command)")
    key = commands.add_parser("key", help="API keys").add_subparsers(dest="action", required=True)
    new = key.add_parser("new", help="make a key; prints it once, and the line for the keys file")
    new.add_argument("name", help="whose key")
    new.add_argument(
        "--role",
        action="append",
        choices=[role.value for role in Role],
        help="may be repeated; reader if absent",
    )
    return parser
