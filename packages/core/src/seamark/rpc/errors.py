"""Why a call failed: the contract's `Error`, put into and read from the trailing metadata.

The gRPC status alone would do for a stranger; the message says which field, and when to ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Never

import grpc
from google.protobuf.message import DecodeError

from seamark.rpc.v1 import market_data_pb2

ERROR_METADATA = "seamark-error-bin"
CORRELATION_METADATA = "x-correlation-id"

STATUS: Mapping[market_data_pb2.ErrorCode.ValueType, grpc.StatusCode] = MappingProxyType(
    {
        market_data_pb2.ERROR_CODE_UNSPECIFIED: grpc.StatusCode.UNKNOWN,
        market_data_pb2.ERROR_CODE_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        market_data_pb2.ERROR_CODE_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
        market_data_pb2.ERROR_CODE_FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
        market_data_pb2.ERROR_CODE_TOO_COSTLY: grpc.StatusCode.RESOURCE_EXHAUSTED,
        market_data_pb2.ERROR_CODE_STALE: grpc.StatusCode.FAILED_PRECONDITION,
        market_data_pb2.ERROR_CODE_GONE: grpc.StatusCode.OUT_OF_RANGE,
        market_data_pb2.ERROR_CODE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        market_data_pb2.ERROR_CODE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        market_data_pb2.ERROR_CODE_INTERNAL: grpc.StatusCode.INTERNAL,
        market_data_pb2.ERROR_CODE_CANCELLED: grpc.StatusCode.CANCELLED,
    }
)
"""The one place where our codes meet gRPC's; one to one, so that a peer may go by either."""

# A peer refuses metadata above 8 KiB, and the text is in there twice, once with escapes.
_MESSAGE_CHARACTERS = 500
_FIELD_CHARACTERS = 100


async def abort(
    context: grpc.aio.ServicerContext[Any, Any],
    code: market_data_pb2.ErrorCode.ValueType,
    message: str,
    *,
    field: str = "",
    retry_after_ms: int = 0,
) -> Never:
    """End the call with the contract's `Error`; a long text is cut to 500 characters.

    Raises:
        grpc.aio.AbortError: always; it must not be caught.
    """
    message = _cut(message, _MESSAGE_CHARACTERS)
    identity = correlation_id(context)
    error = market_data_pb2.Error(
        code=code,
        message=message,
        field=_cut(field, _FIELD_CHARACTERS),
        retry_after_ms=retry_after_ms,
        correlation_id=identity,
    )
    metadata = ((ERROR_METADATA, error.SerializeToString()), (CORRELATION_METADATA, identity))
    await context.abort(STATUS[code], message, metadata)


def rpc_error(error: grpc.aio.AioRpcError) -> market_data_pb2.Error | None:
    """What the service said of a failed call; None where gRPC itself ended it (deadline, size, connection)."""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_METADATA and isinstance(value, bytes):
            try:
                return market_data_pb2.Error.FromString(value)
            except DecodeError:
                return None
    return None


def correlation_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The call's id, as `seamark.rpc.server` has set it; empty in another server."""
    for key, value in context.trailing_metadata():
        if key == CORRELATION_METADATA:
            return str(value)
    return ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
