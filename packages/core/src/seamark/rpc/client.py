"""A connection to one of our servers."""

from __future__ import annotations

import grpc

from seamark.rpc.errors import CORRELATION_METADATA

MOST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of one message: a frame has 1 MiB of rows and its dictionaries; a header names every partition."""
PING_SECONDS = 10
PING_TIMEOUT_SECONDS = 5
PINGS = (
    ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_SECONDS * 1000),
    # Without it a stopped peer that still acknowledges on TCP is noticed a minute later.
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_SECONDS * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
"""How either side notices that the other is gone without a word."""


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port`, without encryption. It connects at the first call; close it at the end.

    A peer that is gone without a word is noticed within PING_SECONDS + PING_TIMEOUT_SECONDS, one
    that comes back is tried again within half a second.
    """
    return grpc.aio.insecure_channel(
        address,
        [
            ("grpc.max_receive_message_length", MOST_ANSWER_BYTES),
            *PINGS,
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )


def correlated(correlation_id: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call that belongs to `correlation_id`."""
    return ((CORRELATION_METADATA, correlation_id),)
