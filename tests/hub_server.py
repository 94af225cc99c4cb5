"""A stand-in for the Hugging Face Hub on loopback: as much of its file, repo and commit protocol as the real client uses."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """Files by commit, commits by revision; `needs` is the token that a private repo asks for."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    needs: str | None = None
    gated: bool = False

    def commit(self, files: dict[str, bytes], revision: str = "main") -> str:
        old = self.commits.get(self.revisions.get(revision, ""), {})
        new = {**old, **files}
        name = hashlib.sha1(repr(sorted((path, hashlib.sha1(c).hexdigest()) for path, c in new.items())).encode()).hexdigest()
        self.commits[name] = new
        self.revisions[revision] = name
        return name


@dataclass
class Hub:
    """State of the stand-in. `faults` maps a path's end to what goes wrong with it; `log` holds (method, path)."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    write_token: str = "hf_write"

    def add(self, repo_id: str, files: dict[str, bytes], revision: str = "main") -> str:
        return self.repos.setdefault(repo_id, Repo()).commit(files, revision)


@contextmanager
def running() -> Iterator[Hub]:
    """Serve a fresh, empty Hub on a free loopback port."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.hub = hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    def log_message(self, *_: Any) -> None:
        pass

    # --- reading

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path))
        fault = next((what for end, what in self.hub.faults.items() if path.endswith(end)), "")
        if fault == "silent":
            threading.Event().wait(30)
            return
        if fault.isdigit():
            return self._answer(int(fault), {"error": "fault"})
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            return self._send_file(self.hub.stored[parts[1]], {}, fault)
        if "resolve" not in parts:
            return self._answer(404, {"error": "no such page"}, {"X-Error-Code": "EntryNotFound"})
        place = parts.index("resolve")
        repo = self._visible("/".join(parts[:place]))
        if repo is None:
            return
        revision, file = parts[place + 1], "/".join(parts[place + 2 :])
        commit = revision if revision in repo.commits else repo.revisions.get(revision)
        if commit is None:
            return self._answer(404, {"error": "Revision Not Found"}, {"X-Error-Code": "RevisionNotFound"})
        headers = {"X-Repo-Commit": commit}
        if file not in repo.commits[commit]:
            return self._answer(404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound"})
        content = repo.commits[commit][file]
        if fault == "elsewhere":  # not a fault: so the Hub serves large files
            oid = hashlib.sha256(content).hexdigest()
            self.hub.stored[oid] = content
            # Another host's name, as with the real Hub: the client would follow a redirect within one host at once.
            place = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{oid}"
            more_headers = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content)), "Location": place}
            return self._answer(302, {}, {**headers, **more_headers})
        self._send_file(content, headers, fault)

    def _send_file(self, content: bytes, headers: dict[str, str], fault: str) -> None:
        etag = hashlib.sha256(content).hexdigest()
        if fault == "wrong":
            content = bytes([content[0], *content[1:-1], content[-1] ^ 1])
        if fault == "no commit":
            headers = {}
        length, begin, status = len(content), 0, 200
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and fault != "cut":
            begin, status = int(wanted[6:].split("-")[0]), 206
            headers["Content-Range"] = f"bytes {begin}-{length - 1}/{length}"
        self.send_response(status)
        for name, value in {**headers, "ETag": f'"{etag}"', "Content-Length": str(length - begin)}.items():
            self.send_header(name, value)
        if fault in ("cut", "stalls"):
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            # "cut": breaks off and begins anew each time; "stalls": honours ranges but never sends the second half.
            end = length // 2 if fault in ("cut", "stalls") else length
            self.wfile.write(content[begin:end])
            self.close_connection = fault in ("cut", "stalls")

    def _visible(self, repo_id: str) -> Repo | None:
        repo = self.hub.repos.get(repo_id)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.needs and token != repo.needs):
            # The Hub answers 401 for both to who is not logged in, and 404 to who is.
            self._answer(404 if token else 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if repo.gated:
            self._answer(403, {"error": "Access to this model is restricted"}, {"X-Error-Code": "GatedRepo"})
            return None
        return repo

    # --- writing

    def _write(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        if path.startswith("/store/"):
            self.hub.stored[path.rsplit("/", 1)[-1]] = body
            return self._answer(200, {})
        if self.headers.get("Authorization") != f"Bearer {self.hub.write_token}" and path != "/api/validate-yaml":
            return self._answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        routes: dict[str, Callable[[str, bytes], None]] = {
            "/api/validate-yaml": lambda _, __: self._answer(200, {"errors": [], "warnings": []}),
            "/api/repos/create": self._create,
            "/preupload/main": self._preupload,
            "/info/lfs/objects/batch": self._batch,
            "/commit/main": self._commit,
        }
        for end, route in routes.items():
            if path.endswith(end):
                return route(path, body)
        self._answer(404, {"error": "no such page"})

    def _create(self, _: str, body: bytes) -> None:
        wanted = json.loads(body)
        self.hub.created.append(wanted)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        exists = repo_id in self.hub.repos
        self.hub.repos.setdefault(repo_id, Repo())
        self._answer(409 if exists else 200, {"url": f"{self.hub.url}/{repo_id}"})

    def _preupload(self, _: str, body: bytes) -> None:
        files = [
            {"path": path, "uploadMode": "lfs" if path.endswith(".safetensors") else "regular", "shouldIgnore": False}
            for path in (file["path"] for file in json.loads(body)["files"])
        ]
        self._answer(200, {"files": files})

    def _batch(self, _: str, body: bytes) -> None:
        objects = [
            {"oid": item["oid"], "size": item["size"], "actions": {"upload": {"href": f"{self.hub.url}/store/{item['oid']}"}}}
            for item in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, path: str, body: bytes) -> None:
        files = {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.stored[entry["value"]["oid"]]
        repo_id = path.removeprefix("/api/models/").removesuffix("/commit/main")
        commit = self.hub.add(repo_id, files)
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}"})

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        more_headers = {"X-Error-Message": content["error"]} if "error" in content else {}
        for name, value in {
            **more_headers,
            **(headers or {}),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
