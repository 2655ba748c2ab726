"""repro.published.download against a server on loopback that misbehaves."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.published import download as module
from repro.published.download import download

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT as its settings say, and keeps the Range header of every request."""

    breaks_after = len(CONTENT)  # bytes of a connection
    honours_range = True
    content = CONTENT
    announced: int | None = None  # Content-Length, where it is not the truth
    statuses: tuple[int, ...] = ()  # statuses of the first requests
    pause = 0.0  # seconds before each block
    daemon_threads, block_on_close = True, False  # a test does not wait for a connection that it gave up

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model-{SHA256[:8]}.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        header = self.headers.get("Range")
        self.server.ranges.append(header)
        if len(self.server.ranges) <= len(self.server.statuses):
            status = self.server.statuses[len(self.server.ranges) - 1]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", self.server.url)
            self.end_headers()
            return
        content = self.server.content
        start = int(header.removeprefix("bytes=").rstrip("-")) if header and self.server.honours_range else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(self.server.announced or len(content) - start))
        self.end_headers()
        body = content[start : start + self.server.breaks_after]
        for at in range(0, len(body), 1 << 16):
            time.sleep(self.server.pause)
            try:
                self.wfile.write(body[at : at + (1 << 16)])
            except OSError:  # the client has given up
                return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "model.pth"
    seen: list[tuple[int, int | None]] = []
    download(server.url, path, sha256=SHA256[:8], progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_broken_download_resumes_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 300_000
    download(server.url, tmp_path / "model.pth", sha256=SHA256, md5=MD5)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_another_call_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_server_without_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    server.honours_range = False
    (tmp_path / "model.pth.part").write_bytes(b"x" * 1000)
    download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(b"x" * (len(CONTENT) + 5))
    download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("statuses", [(503, 500), (429,), (302,)])
def test_passing_refusals_and_redirections_are_followed(
    server: Server, tmp_path: Path, statuses: tuple[int, ...]
) -> None:
    server.statuses = statuses
    download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


def test_a_slow_server_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


def nothing(server: Server) -> None:
    server.breaks_after = 0


def missing(server: Server) -> None:
    server.statuses = (404,)


def another_file(server: Server) -> None:
    server.content = b"<html>sign in</html>"


def too_long(server: Server) -> None:
    server.announced = 1000


def silent(server: Server) -> None:
    server.pause = 5.0


@pytest.mark.parametrize(
    ("misbehave", "message"),
    [
        (nothing, "the connection broke; download it yourself and place it at .*model.pth"),
        (missing, "HTTP 404 Not Found; download it yourself and place it at .*model.pth"),
        (another_file, r"sent a file with another sha256 \([0-9a-f]{64} instead of"),
        (silent, "timed out; download it yourself"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing_in_place(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misbehave: Callable[[Server], None], message: str
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    misbehave(server)
    with pytest.raises(ReproError, match=message) as caught:
        download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.pth").exists()


def test_a_file_of_another_hash_is_not_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(b"x" * 1000)
    with pytest.raises(ReproError, match="another md5"):
        download(server.url, tmp_path / "model.pth", md5=MD5)
    download(server.url, tmp_path / "model.pth", md5=MD5)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


def test_no_more_than_the_announced_bytes_are_taken(server: Server, tmp_path: Path) -> None:
    too_long(server)
    with pytest.raises(ReproError, match="another sha256"):  # http.client itself stops at Content-Length
        download(server.url, tmp_path / "model.pth", sha256=SHA256)
    assert not (tmp_path / "model.pth").exists()


def test_no_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with pytest.raises(ReproError, match=r"Connection refused.*; download it yourself and place it at"):
        download("http://127.0.0.1:9/model.pth", tmp_path / "model.pth")


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="is not an http address"):
        download("file:///etc/passwd", tmp_path / "model.pth")


def test_of_two_downloads_at_once_one_waits(server: Server, tmp_path: Path) -> None:
    server.pause = 0.01
    errors: list[Exception] = []

    def run() -> None:
        try:
            download(server.url, tmp_path / "model.pth", sha256=SHA256)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReproError, match="cannot write"):
        download("http://127.0.0.1:9/model.pth", tmp_path / "file" / "model.pth")
