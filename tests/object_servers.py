"""Real servers of a registry's files, each a process on loopback: one that speaks S3 (moto's), and web servers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cut_proxy import CutProxy

BUCKET = "models"

# S3 decides about a conditional write in one step. moto looks, then writes, and would let two threads both win: one
# request at a time makes it one step. `forgetful` drops the condition, as servers do that speak an older S3. The key
# `reader` may not write.
_S3 = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass

s3 = DomainDispatcherApplication(create_backend_app)

def application(environ, start_response):
    if "forgetful" in sys.argv:
        environ.pop("HTTP_IF_NONE_MATCH", None)
    if "=reader/" in environ.get("HTTP_AUTHORIZATION", "") and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
    return s3(environ, start_response)

server = make_server("127.0.0.1", 0, application, threaded=False, request_handler=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""

# `ranges`: answers ranged reads; `listing`: lists folders; `apache`: lists them as that server does, with links that
# sort and one to the parent folder; `index`: a page of its own for each folder; `pages`: a page with status 200 in
# place of a missing file. Each request is a line: method, path, range, bytes sent. Beside a file, FILE.broken makes
# the server fail, and FILE.cut makes it break off once, half-way.
_WEB = """
import http.server, os, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def list_directory(self, path):
        if "listing" in sys.argv:
            return super().list_directory(path)
        if "index" in sys.argv:
            return self.page("<html><body>Our models. <a href='https://example.org'>More</a></body></html>")
        if "apache" in sys.argv:
            here = self.path.partition("?")[0]
            parent = here.rstrip("/").rpartition("/")[0] + "/"
            links = ["?C=N;O=D", "?C=M;O=A", "?C=S;O=A", "?C=D;O=A", parent]
            links += [name + "/" * os.path.isdir(os.path.join(path, name)) for name in sorted(os.listdir(path))]
            page = "<html><body>" + "".join(f'<a href="{link}">x</a>' for link in links) + "</body></html>"
            return self.page(page)
        self.send_error(403, "no listing")

    def page(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        wanted, path = self.headers.get("Range"), self.translate_path(self.path)
        sent = 0
        if os.path.exists(path + ".broken"):
            self.send_error(500)
        elif "pages" in sys.argv and not os.path.exists(path):
            self.page("<!DOCTYPE html><html><body>Not here</body></html>")
        elif os.path.exists(path + ".cut"):
            os.unlink(path + ".cut")
            ranged = wanted and "ranges" in sys.argv
            self.send_response(206 if ranged else 200)
            if ranged:
                self.send_header("Content-Range", f"{wanted.replace('=', ' ')}/{os.path.getsize(path)}")
            self.send_header("Content-Length", str(os.path.getsize(path)))
            self.end_headers()
            with open(path, "rb") as file:
                self.wfile.write(file.read(os.path.getsize(path) // 2))
            self.close_connection = True
        elif wanted and "ranges" in sys.argv and os.path.isfile(path):
            size = os.path.getsize(path)
            first, last = wanted.removeprefix("bytes=").split("-")
            first, last = int(first), min(int(last or size), size - 1)
            if first >= size:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                with open(path, "rb") as file:
                    file.seek(first)
                    data = file.read(last - first + 1)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                sent = len(data)
        else:
            super().do_GET()
            sent = os.path.getsize(path) if os.path.isfile(path) else 0
        print("GET", self.path, wanted or "-", sent, file=sys.stderr, flush=True)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def missing_for_s3() -> str | None:
    """Why there can be no S3 server here, if so."""
    absent = [name for name in ("s3fs", "moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)} (pip install -e '.[test]')" if absent else None


@contextmanager
def s3_server(*, forgetful: bool = False) -> Iterator[str]:
    """A server that speaks S3, with the bucket `models`; yields its endpoint."""
    with _serving(_S3, *(["forgetful"] if forgetful else [])) as endpoint:
        import requests

        requests.put(f"{endpoint}/{BUCKET}", timeout=30).raise_for_status()
        yield endpoint


@contextmanager
def cuttable_s3(endpoint: str, monkeypatch: pytest.MonkeyPatch, *, attempts: int) -> Iterator[CutProxy]:
    """Have this process, and those it starts, reach an S3 server by a proxy; its client tries a request so often."""
    import s3fs

    with CutProxy(urlsplit(endpoint).port or 0) as proxy:
        for name, value in s3_environment(f"http://127.0.0.1:{proxy.port}").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(attempts))
        s3fs.S3FileSystem.clear_instance_cache()  # a client keeps the address it was made with
        yield proxy
        s3fs.S3FileSystem.clear_instance_cache()


def s3_environment(endpoint: str) -> dict[str, str]:
    """The variables by which clients find it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def web_server(
    folder: Path, *, log: Path, ranges: bool = True, listing: bool = False, extra: Sequence[str] = ()
) -> Iterator[str]:
    """A plain web server of a folder; yields its URL. `log` gets a line for each answered GET."""
    options = [*(["ranges"] if ranges else []), *(["listing"] if listing else []), *extra]
    with _serving(_WEB, *options, folder=folder, log=log) as endpoint:
        yield endpoint


@contextmanager
def _serving(program: str, *arguments: str, folder: Path | None = None, log: Path | None = None) -> Iterator[str]:
    errors = subprocess.DEVNULL if log is None else log.open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, f"the server did not start: status {process.wait(10)}"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if not isinstance(errors, int):
            errors.close()
