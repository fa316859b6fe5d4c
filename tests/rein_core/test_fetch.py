"""Files behind URIs: fetched once, whole or not at all, anew when they changed, and every failure says what to do."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch
from moto.server import ThreadedMotoServer
from safetensors.torch import save

from rein_core.fetch import cache_folder, local_copy
from rein_core.vfms import load_vfm
from rein_core.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]


class Server(ThreadingHTTPServer):
    """One file at every path but /none, with its ETag; `fault` is what it does wrong."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.fault, self.downloads, self.halfway = b"weights" * 1000, None, 0, threading.Event()

    def uri(self, path: str = "models/w.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.begin(len(self.server.content))

    def do_GET(self) -> None:
        content, half = self.server.content, len(self.server.content) // 2
        if not self.begin(None if self.server.fault == "short" else len(content)):
            return
        self.server.downloads += 1
        self.wfile.write(content[:half])
        self.server.halfway.set()
        if self.server.fault == "slow":
            time.sleep(60)
        elif self.server.fault is None:
            self.wfile.write(content[half:])

    def begin(self, length: int | None) -> bool:
        missing = self.path == "/none"
        self.send_response(404 if missing else 200)
        self.send_header("ETag", f'"{hash(self.server.content)}"')
        if length is not None:
            self.send_header("Content-Length", str(0 if missing else length))
        self.end_headers()
        return not missing

    def log_message(self, *_) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def files() -> list[str]:
    """What the cache holds, but for locks."""
    return sorted(path.name for path in cache_folder().rglob("*") if path.is_file() and path.name != ".lock")


def test_a_file_is_fetched_once(server, tmp_path, capsys):
    first, second = local_copy(server.uri()), local_copy(server.uri())
    assert first == second and first.read_bytes() == server.content and server.downloads == 1
    assert first.is_relative_to(tmp_path / "cache") and files() == ["w.bin"]
    said = capsys.readouterr().err
    assert said.count("downloading") == 1 and server.uri() in said


def test_a_changed_file_is_fetched_anew(server):
    before = local_copy(server.uri())
    server.content = b"changed" * 1000  # of the same size
    after = local_copy(server.uri())
    assert after != before and after.read_bytes() == server.content and server.downloads == 2
    other = local_copy(server.uri("other/w.bin?version=2"))
    assert other.name == "w.bin" and other != after


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_half_a_file_is_no_file(server, fault):
    """The line breaks before the length that was announced, or the server just stops."""
    server.fault = fault
    with pytest.raises(ValueError, match=rf"{server.uri()} can't be fetched \(.+\): check the address, .*=PATH"):
        local_copy(server.uri())
    assert files() == []
    server.fault = None
    assert local_copy(server.uri()).read_bytes() == server.content


def test_a_missing_file_is_named(server):
    with pytest.raises(ValueError, match=rf"model.vfm.weights: {server.uri('none')} can't be fetched \(.*404"):
        local_copy(server.uri("none"))


def test_a_server_that_is_away_is_named(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match=r"can't be fetched \(Client.*[Cc]onnect"):
        local_copy(server.uri())


def fetching(uri: str) -> subprocess.Popen:
    code = f"from rein_core.fetch import local_copy; print(local_copy({uri!r}))"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_share_one_download_and_a_kill_leaves_no_half_file(server):
    server.fault = "slow"
    killed = fetching(server.uri())
    assert server.halfway.wait(120)
    killed.kill()
    killed.wait()
    assert [name for name in files() if name != "w.bin.partial"] == []
    server.fault = None
    both = [fetching(server.uri()) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in both}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == server.content
    assert server.downloads == 2 and files() == ["w.bin"]


def test_weights_load_from_a_uri(server):
    model, _ = load_vfm("vit_tiny", None, img_size=64, seed=1)
    server.content = save(model.state_dict())
    loaded, report = load_vfm("vit_tiny", server.uri("vit.safetensors"), img_size=64)
    assert torch.equal(loaded.pos_embed, model.pos_embed) and report.resized == []
    server.content = b"<html>sign in</html>"
    with pytest.raises(ValueError, match=rf"{server.uri('vit.safetensors')} can't be read as weights"):
        load_vfm("vit_tiny", server.uri("vit.safetensors"), img_size=64)


def test_other_kinds_of_uri(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    file = tmp_path / "here.safetensors"
    file.write_bytes(save({"a": torch.ones(2)}))
    assert local_copy(file.as_uri()) == file and not cache_folder().exists()
    with pytest.raises(FileNotFoundError, match="no file file:///nowhere"):
        read_weights("file:///nowhere")
    fsspec.filesystem("memory").pipe("/there.safetensors", file.read_bytes())
    assert torch.equal(read_weights("memory://there.safetensors")["a"], torch.ones(2))
    with pytest.raises(ValueError, match=r"nothing reads ftpx://: use https://, s3://, gs://, file:// or a path"):
        local_copy("ftpx://host/file")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"gs:// needs the package gcsfs: pip install gcsfs"):
        local_copy("gs://bucket/file")


def test_an_object_store(tmp_path, monkeypatch):
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        for name, value in (settings | {"NO_PROXY": host, "TORCH_HOME": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.mkdir("weights")
        for value in (1.0, 2.0):  # the second is of the same size
            bucket.pipe("weights/dir/w.safetensors", save({"a": torch.full((2,), value)}))
            assert read_weights("s3://weights/dir/w.safetensors")["a"].tolist() == [value] * 2
        assert files() == ["w.safetensors"] * 2
        for missing, reason in (("none", "FileNotFoundError"), ("dir", "it is a folder")):
            with pytest.raises(ValueError, match=rf"s3://weights/{missing} can't be fetched \(.*{reason}"):
                read_weights(f"s3://weights/{missing}")
    finally:
        store.stop()
