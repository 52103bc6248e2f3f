"""A gRPC server as every service has it: health, reflection, limits, a correlation id for each call.

Nothing leaves a servicer unexplained: what is not an `abort` is logged and ends as INTERNAL.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.descriptor_pool import Default as default_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from seamark.rpc.client import MOST_ANSWER_BYTES, PING_SECONDS, PINGS
from seamark.rpc.errors import CORRELATION_METADATA, abort
from seamark.rpc.v1 import market_data_pb2
from seamark.telemetry.logs import correlated

logger = logging.getLogger(__name__)

MOST_REQUEST_BYTES = 1024 * 1024
"""Of one message; the largest predicate that is allowed has room in it."""

_CORRELATION_ID = re.compile(r"[!-~]{1,128}")
_Context = grpc.aio.ServicerContext[Any, Any]


class RpcServer:
    """A server that runs. Not ready until it is told so."""

    def __init__(
        self, server: grpc.aio.Server, servicer: health.aio.HealthServicer, names: tuple[str, ...], port: int
    ) -> None:
        self._server = server
        self._health = servicer
        self._names = names
        self.port = port

    async def set_ready(self, ready: bool) -> None:
        """What the health service says of the server and of each service: SERVING or NOT_SERVING."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in ("", *self._names):
            await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """NOT_SERVING, no new calls, and an end to those that are under way after `grace_seconds`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)


async def serve(address: str, services: Mapping[str, Callable[[grpc.aio.Server], None]]) -> RpcServer:
    """Serve on `host:port`, without encryption; port 0: any that is free.

    `services`: by the full name in the protos, what adds the servicer
    (`partial(add_TailServiceServicer_to_server, servicer)`). Its methods are coroutines, and
    asynchronous generators where they stream.

    Raises:
        OSError: the address cannot be had, or is taken.
        KeyError: no such service in the protos.
    """
    names = tuple(default_pool().FindServiceByName(name).full_name for name in services)
    server = grpc.aio.server(
        interceptors=[_Explained(frozenset(names))],
        options=[
            ("grpc.max_receive_message_length", MOST_REQUEST_BYTES),
            ("grpc.max_send_message_length", MOST_ANSWER_BYTES),
            *PINGS,
            # Half of what our clients do: none of them is told to calm down.
            ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000 // 2),
            # A second server on the same port would get half of the calls, and no error.
            ("grpc.so_reuseport", 0),
        ],
    )
    for add in services.values():
        add(server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"address was {address}, must be free on this machine: {error}") from error
    running = RpcServer(server, servicer, names, port)
    await running.set_ready(False)
    await server.start()
    return running


def deadline_seconds(context: _Context, longest_seconds: float) -> float:
    """When the caller gives up, on the monotonic clock, but at most `longest_seconds` from now."""
    remaining = context.time_remaining()
    return time.monotonic() + (longest_seconds if remaining is None else min(remaining, longest_seconds))


class _Explained(grpc.aio.ServerInterceptor):
    """Gives each call of our services its correlation id, and a defect its `Error`."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.split("/")[1] not in self._names:
            return handler
        asks, gives = (
            "stream" if streaming else "unary"
            for streaming in (handler.request_streaming, handler.response_streaming)
        )
        behaviour = getattr(handler, f"{asks}_{gives}")
        make = getattr(grpc, f"{asks}_{gives}_rpc_method_handler")
        explained = _stream(behaviour) if handler.response_streaming else _unary(behaviour)
        return make(explained, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]


def _unary(behaviour: Callable[[Any, _Context], Awaitable[Any]]) -> Callable[[Any, _Context], Awaitable[Any]]:
    async def explained(request: Any, context: _Context) -> Any:  # noqa: ANN401 - any message
        identity = _identify(context)
        with correlated(identity):
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - a caller is told, whatever it is
                await _defect(context, error)

    return explained


def _stream(
    behaviour: Callable[[Any, _Context], AsyncGenerator[Any, None]],
) -> Callable[[Any, _Context], AsyncGenerator[Any, None]]:
    async def explained(request: Any, context: _Context) -> AsyncGenerator[Any, None]:  # noqa: ANN401
        identity = _identify(context)
        async with aclosing(behaviour(request, context)) as messages:
            while True:
                # Not around the yield: a generator that is left alone there ends in another context.
                with correlated(identity):
                    try:
                        message = await anext(messages)
                    except StopAsyncIteration:
                        return
                    except grpc.aio.AbortError:
                        raise
                    except Exception as error:  # noqa: BLE001 - a caller is told, whatever it is
                        await _defect(context, error)
                yield message

    return explained


def _identify(context: _Context) -> str:
    """The caller's id, or a new one; it goes back in the trailing metadata."""
    given = dict(context.invocation_metadata() or ()).get(CORRELATION_METADATA, "")
    identity = given if isinstance(given, str) and _CORRELATION_ID.fullmatch(given) else uuid.uuid4().hex
    context.set_trailing_metadata(((CORRELATION_METADATA, identity),))
    return identity


async def _defect(context: _Context, error: Exception) -> None:
    logger.error("call failed", exc_info=error)
    await abort(context, market_data_pb2.ERROR_CODE_INTERNAL, "internal error; the server's log says more")
