"""A proxy process in front of a real MLflow server that injects errors, lost responses and hangs.

``python -m tests.support.faulty_server PORT ADDRESS FAULT...`` applies the faults to the requests in turn and repeats.
"""

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import requests

from tests.conftest import ROOT
from tests.support.mlflow_server import free_port, wait_until_it_answers

FAULTS = {
    "pass": "forwards the request",
    "error": "responds with 500",
    "lose": "forwards the request and responds with 500, so the client does not know that the server has acted",
    "hang": "forwards the request after the client has given up",
    "die": "forwards the request and exits before it responds",
    "later": "responds with 503 and asks the client to retry in an hour",
    "busy": "responds with 429 and asks the client to retry in an hour",
    "drip": "forwards the request and sends the response one byte every few seconds, so no read times out",
    "full": "responds with 413 to a file, forwards all other requests",
    "reset": "forwards the request and resets the connection in the middle of the response",
    "loop": "redirects the request to its own address",
    "page": "responds with 200 and an HTML page, as a proxy that requires a login does",
    "login": "responds with 401, as after a change of the password",
    "denied": "responds with 403",
    "deaf": "responds with 200 to a write without forwarding it, forwards all other requests",
}
HANG, PAUSE = 2.0, 5.0  # seconds
REFUSALS = {"error": 500, "later": 503, "busy": 429, "login": 401, "denied": 403}
AN_HOUR = {"Retry-After": "3600"}
WRITES = ("/runs/log-batch", "/runs/update", "/runs/log-inputs", "/runs/set-tag")
OF_ONE_CONNECTION = {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "accept-encoding"}


def answer(handler: BaseHTTPRequestHandler, address: str, fault: str) -> None:
    """Answer a request with a fault."""
    body, is_file = _body(handler), handler.command == "PUT"
    if fault == "hang":
        time.sleep(HANG)
    if fault in REFUSALS:
        _send(handler, REFUSALS[fault], AN_HOUR if fault in {"later", "busy"} else {}, b"")
    elif fault == "loop":
        _send(handler, 302, {"Location": handler.path}, b"")
    elif fault == "page":
        _send(handler, 200, {"Content-Type": "text/html"}, b"<html><body>Please log in</body></html>")
    elif fault == "full" and is_file:
        _send(handler, 413, {}, b"too large")
    elif fault == "deaf" and (is_file or handler.path.endswith(WRITES)):
        _send(handler, 200, {}, b"{}")
    else:
        _pass_on(handler, address, fault, body)


def _pass_on(handler: BaseHTTPRequestHandler, address: str, fault: str, body: bytes) -> None:
    headers = {name: value for name, value in handler.headers.items() if name.lower() not in OF_ONE_CONNECTION}
    passed = requests.request(handler.command, f"{address}{handler.path}", data=body, headers=headers, timeout=60)
    if fault == "die":
        os._exit(0)
    if fault == "reset":
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        handler.connection.close()
        handler.close_connection = True
    elif fault == "lose":
        _send(handler, 500, {}, b"")
    else:
        kept = {name: value for name, value in passed.headers.items() if name.lower() not in OF_ONE_CONNECTION}
        _send(handler, passed.status_code, kept, passed.content, pause=PAUSE if fault == "drip" else 0.0)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _send(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, pause: float = 0.0
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    with suppress(BrokenPipeError):  # the client has given up
        handler.end_headers()
        for byte in range(len(body) if pause else 0):
            handler.wfile.write(body[byte : byte + 1])
            time.sleep(pause)
        handler.wfile.write(b"" if pause else body)


def main(port: str, address: str, *faults: str) -> None:
    """Serve until the process is killed."""
    following = cycle(faults)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            self.close_connection = not self.raw_requestline
            if self.raw_requestline and self.parse_request():
                fault = "pass" if self.path == "/health" else next(following)
                answer(self, address, fault)

    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


@contextmanager
def faulty(address: str, *faults: str, port: int | None = None) -> Iterator[str]:
    """Start the proxy in front of a server and yield the proxy's address."""
    assert FAULTS.keys() >= set(faults)
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.faulty_server", str(port), address, *faults], cwd=ROOT
    )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
