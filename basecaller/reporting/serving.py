"""Serves the report to a browser on this machine: `http://127.0.0.1:PORT/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from basecaller.common.errors import SettingError

HOST = "127.0.0.1"

FILES = {
    "/": ("report.html", "text/html"),
    "/report.html": ("report.html", "text/html"),
    "/report.md": ("report.md", "text/plain"),
    "/report.json": ("report.json", "application/json"),
}
"""The served files: the report, and nothing else from its folder."""


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, folder: Path, *args: object) -> None:
        self.folder = folder
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name, kind = FILES.get(self.path.partition("?")[0], ("", ""))
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a web page whose own host name resolves to loopback (DNS rebinding)
            return self.send_error(HTTPStatus.FORBIDDEN)
        file = self.folder / name
        if not name or not file.is_file():
            return self.send_error(HTTPStatus.NOT_FOUND)
        content = file.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Logs no requests."""


@contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """Serves the report of a folder on loopback, to this machine alone.

    Args:
        folder: folder of the experiment.
        port: port to listen on; 0 for any free one.
    Yields:
        The address.
    Raises:
        SettingError: the port is in use, or this user may not listen on it.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Handler, folder))
    except OSError as error:
        raise SettingError(f"serve={port}: {error.strerror}; use another port") from error
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
