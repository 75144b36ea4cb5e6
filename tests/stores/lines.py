"""The line between a client and a PostgreSQL server, which can be cut when something was said on it."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

__all__ = ["Line", "line_to"]

FILE = ".s.PGSQL.5432"


class Line:
    """The line between a client and the server. It is cut when the server answers what holds ``cut_at``."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.cut_at: bytes | None = None
        self._server = server
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / FILE))
        self._listening.listen()
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            Call(self, client, self._server)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


class Call:
    """One connection."""

    def __init__(self, line: Line, client: socket.socket, server: Path) -> None:
        self.line = line
        self.client = client
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(str(server / FILE))
        self.committing = False
        Thread(target=self._ask, daemon=True).start()
        Thread(target=self._answer, daemon=True).start()

    def _ask(self) -> None:
        with self.server:
            while data := _received(self.client):
                if self.line.cut_at is not None and self.line.cut_at in data:
                    self.committing = True
                self.server.sendall(data)
            _shut(self.server)

    def _answer(self) -> None:
        with self.client:
            while data := _received(self.server):
                if self.committing:
                    self.line.cut_at = None
                    break
                self.client.sendall(data)
            _shut(self.client)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except OSError:
        return b""


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side has


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """A line to a server, and the URL by which it is reached."""
    (server,) = parse_qs(urlsplit(url).query)["host"]
    folder = Path(tempfile.mkdtemp(prefix="flowstmt-"))
    line = Line(Path(server), folder)
    try:
        yield line, url.replace(server, str(folder))
    finally:
        line.close()
        shutil.rmtree(folder)
