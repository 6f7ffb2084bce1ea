"""An HTTP server for tests, which serves a folder correctly or with a chosen fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Serves a folder as `mode` says.

    Attributes:
        folder: The folder. It may be changed while the server runs.
        mode: ``whole``, or a fault: ``forbidden``, ``silent``, ``cut``, ``damaged`` or ``stalls``.
        asked: The names that were requested, in order.
        stopped: Set when the server stops, to release the requests that it keeps waiting.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.mode = "whole"
        self.asked: list[str] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.server.asked.append(name)
        mode = self.server.mode
        if mode == "forbidden":
            self.send_error(403)
            return
        if mode == "silent":
            self.server.stopped.wait()
            return
        path = self.server.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if mode == "cut":
            content = content[: len(content) // 2]
        if mode == "damaged":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if mode == "stalls":
            self.wfile.write(content[:100])
            self.server.stopped.wait()
            return
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve a folder while the block runs."""
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
