"""A fake Hugging Face hub on loopback, in memory, with the endpoints that ``huggingface_hub`` uses.

As on the real hub, a small file is reached by a redirect to another path and has git's SHA-1 of its blob as ETag, a
large one by a redirect to another host, with its SHA-256 and size in headers of their own; errors carry an
``X-Error-Code``.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

LARGE = (".safetensors", ".bin", ".onnx")


@dataclass
class Repository:
    """Files by name at one commit, and who may read them."""

    commit: str
    files: dict[str, bytes]
    branches: tuple[str, ...] = ("main",)
    gated: bool = False
    token: str | None = None


@dataclass(frozen=True)
class Request:
    """A received request."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Hub:
    """Repositories by id, faults by file name, and the received requests; see :func:`running_hub`."""

    url: str = ""
    cdn: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    breaks_after: dict[str, int] = field(default_factory=dict)  # bytes; the connection ends there, once
    instead: dict[str, bytes] = field(default_factory=dict)  # is sent instead of the file's content

    def add(self, repository: str, source: Path | Mapping[str, bytes], commit: str) -> None:
        """Add a repository with the files of a folder, or with the given ones."""
        if isinstance(source, Path):
            source = {file.name: file.read_bytes() for file in source.iterdir() if file.is_file()}
        self.repositories[repository] = Repository(commit, dict(source))

    def cdn_requests(self) -> list[Request]:
        """The requests for the content of large files."""
        return [request for request in self.requests if request.path.startswith("/cdn/")]


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def git_digest(content: bytes) -> str:
    """Git's SHA-1 of a blob, in hexadecimal."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def disposition(name: str) -> dict[str, str]:
    """The header with the file name that the client shows in its progress bar."""
    return {"Content-Disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub without repositories on a free port."""
    hub = Hub()

    class Handler(_Handler):
        hub_ = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.cdn = f"http://localhost:{server.server_port}"  # another host to the client
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub_: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(self.path.split("?")[0])
        headers = self.headers
        self.hub_.requests.append(Request(self.command, path, headers.get("Range"), headers.get("Authorization")))
        if match := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            self._send_large(match[1])
            return
        routes: list[tuple[Callable[..., None], str]] = [
            (self._info, r"/api/(models|datasets)/(?P<id>[^/]+/[^/]+)(/revision/(?P<revision>.+))?"),
            (self._resolve, r"(/datasets)?/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)"),
            (
                self._send_small,
                r"/api/resolve-cache/\w+/(?P<id>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<name>.+)",
            ),
        ]
        for answer, pattern in routes:
            if match := re.fullmatch(pattern, path):
                if repository := self._allowed(**match.groupdict()):
                    answer(repository, **match.groupdict())
                return
        self._reject(404, "NotFound")

    def _allowed(self, id: str, revision: str | None, name: str | None = None) -> Repository | None:
        repository = self.hub_.repositories.get(id)
        token = repository.token if repository else None
        if repository is None or (token and self.headers.get("Authorization") != f"Bearer {token}"):
            self._reject(401, "RepoNotFound")
            return None
        if revision not in (None, repository.commit, *repository.branches):
            self._reject(404, "RevisionNotFound")
            return None
        # The file list of a gated repository is public.
        if repository.gated and name is not None:
            self._reject(403, "GatedRepo")
            return None
        if name is not None and name not in repository.files:
            self._reject(404, "EntryNotFound", {"X-Repo-Commit": repository.commit})
            return None
        return repository

    def _info(self, repository: Repository, id: str, revision: str | None) -> None:
        info = {
            "_id": "1",
            "id": id,
            "modelId": id,
            "sha": repository.commit,
            "private": repository.token is not None,
            "tags": [],
            "siblings": [{"rfilename": name} for name in [".gitattributes", *repository.files]],
        }
        self._send(json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repository: Repository, id: str, revision: str, name: str) -> None:
        content, commit = repository.files[name], repository.commit
        if not name.endswith(LARGE):
            location = f"/api/resolve-cache/models/{id}/{commit}/{name}"
            return self._redirect(307, location, {"X-Repo-Commit": commit, "ETag": f'"{git_digest(content)}"'})
        linked = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{digest(content)}"', "X-Linked-Size": str(len(content))}
        return self._redirect(302, f"{self.hub_.cdn}/cdn/{digest(content)}", linked)

    def _send_small(self, repository: Repository, id: str, revision: str, name: str) -> None:
        content = repository.files[name]
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{git_digest(content)}"', **disposition(name)}
        self._send(self.hub_.instead.get(name, content), headers)

    def _send_large(self, wanted: str) -> None:
        for repository in self.hub_.repositories.values():
            for name, content in repository.files.items():
                if digest(content) == wanted:
                    content = self.hub_.instead.get(name, content)
                    headers = {"ETag": '"of-the-cdn"', **disposition(name)}
                    return self._send(content, headers, self.hub_.breaks_after.pop(name, None))
        return self._reject(404, "NotFound")

    def _send(self, content: bytes, headers: Mapping[str, str], breaks_after: int | None = None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._head(206 if start else 200, {**part, **headers, "Content-Length": str(len(content) - start)})
        if self.command == "GET":
            self.wfile.write(content[start:breaks_after])
        self.close_connection = breaks_after is not None

    def _redirect(self, status: int, location: str, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Location": location, "Content-Length": "0"})

    def _reject(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, {"X-Error-Code": code, "Content-Length": "0", **(headers or {})})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
