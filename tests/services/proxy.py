"""A TCP proxy on loopback that can answer in the server's place, cut connections, or be slow."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

RESET = struct.pack("ii", 1, 0)  # lingering for no time: closing sends RST instead of FIN


class Proxy:
    """Hands bytes to a port of this machine and back, with the fault of the moment."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.heal()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        """Hand on everything."""
        self._answer: bytes | None = None
        self._cut_at: int | None = None
        self._bytes_per_s: int | None = None

    def answer(self, response: bytes) -> None:
        """Give this response to every request."""
        self.heal()
        self._answer = response

    def cut(self, after: int) -> None:
        """Reset a connection once the client has sent so many bytes."""
        self.heal()
        self._cut_at = after

    def slow(self, bytes_per_s: int) -> None:
        """Hand on the client's bytes at this rate."""
        self.heal()
        self._bytes_per_s = bytes_per_s

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self._answer is not None:
                client.recv(65536)
                client.sendall(self._answer)
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
                back.start()
                self._forward(client, server)
                back.join(timeout=60)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        while data := client.recv(65536):
            if self._answer is not None:  # on a connection that was open before the fault
                client.sendall(self._answer)
                return
            sent += len(data)
            if self._cut_at is not None and sent > self._cut_at:
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.close()
                return
            if self._bytes_per_s:
                time.sleep(len(data) / self._bytes_per_s)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    def _copy(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
