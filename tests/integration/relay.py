"""A TCP address that stays while what is behind it changes, as a service's name does."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from seamark.local.engines.ports import LOOPBACK

_PIECE_BYTES = 65_536


class Relay:
    """Forwards connections to `target`, which may be set anew at any time. Ends with the `with` block."""

    def __init__(self, target: str) -> None:
        """`target`: host:port."""
        self.target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                host, port = self.target.split(":")
                try:
                    server = socket.create_connection((host, int(port)))
                except OSError:
                    client.close()
                    continue
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Until either side ends; then both end."""
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            sink.sendall(piece)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
