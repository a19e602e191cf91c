"""A TCP proxy on loopback that can cut every connection and refuse new ones, or keep them open and pass nothing on."""

from __future__ import annotations

import contextlib
import socket
import threading


class CutProxy:
    """Stands between clients and one server; `port` is where clients go."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._flowing = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.accepted = 0
        self.port = 0
        self._listener: socket.socket | None = None
        self.restore()
        self.thaw()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        assert self._listener is not None
        # A thread that waits in accept does not notice a mere close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        with self._lock:
            for connection in self._connections:
                _end(connection)

    def restore(self) -> None:
        """Take connections again, at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def freeze(self) -> None:
        """Keep connections, take new ones, and let nothing through; what is underway arrives after `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything through that waits."""
        self._flowing.set()

    def close(self) -> None:
        self.thaw()
        if self._listener is not None:
            self.cut()

    def __enter__(self) -> CutProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            try:
                server.connect(self._server)
            except OSError:
                return
            with self._lock:
                self._connections |= {client, server}
                if self._listener is None:
                    _end(client)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()
            with self._lock:
                self._connections -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        _end(sink)
        _end(source)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
