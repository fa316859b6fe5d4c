"""The scripts in docs, with stand-ins for what they call: what becomes of files and of options."""

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
LABELS = b"\x89PNG, as far as the script knows"
GIVEN = json.dumps({"predictions": [{"labels": base64.b64encode(LABELS).decode()}]})


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers each request with its `answer`, a status and a text; `asked` has the requests' bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, text = made.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.answer = [], (200, GIVEN)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def predict(server: HTTPServer, folder: Path) -> subprocess.CompletedProcess:
    """Of an image there, into a label map there."""
    (folder / "image").write_bytes(b"an image")
    argv = [DOCS / "predict.sh", folder / "image", folder / "out.png", f"http://127.0.0.1:{server.server_port}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_the_label_map_takes_the_place_of_the_former(server, tmp_path):
    (tmp_path / "out.png").write_bytes(b"a former label map")
    assert predict(server, tmp_path).returncode == 0
    assert (tmp_path / "out.png").read_bytes() == LABELS
    assert server.asked[0]["dataframe_split"]["data"] == [[base64.b64encode(b"an image").decode()]]
    assert {file.name for file in tmp_path.iterdir()} == {"image", "out.png"}


@pytest.mark.parametrize(
    "answer", [(400, '{"error_code": "BAD_REQUEST", "message": "no image"}'), (200, "<p>Another server</p>")]
)
def test_a_refusal_leaves_the_former_label_map(server, tmp_path, answer):
    (tmp_path / "out.png").write_bytes(b"a former label map")
    server.answer = answer
    done = predict(server, tmp_path)
    assert done.returncode == (22 if answer[0] == 400 else 1)
    assert ("no image" if answer[0] == 400 else "no label map in the answer") in done.stderr
    assert (tmp_path / "out.png").read_bytes() == b"a former label map"
    assert {file.name for file in tmp_path.iterdir()} == {"image", "out.png"}


@pytest.fixture
def start(tmp_path):
    """Gives a function that runs the tracking server's script with such arguments: the store and options it gives."""
    script, program = tmp_path / "docs" / "tracking-server.sh", tmp_path / ".venv" / "bin" / "mlflow"
    for file in (script, program):
        file.parent.mkdir(parents=True)
    shutil.copy(DOCS / script.name, script)
    program.write_text('#!/bin/sh\necho "$MLFLOW_BACKEND_STORE_URI" "$@"\n')
    program.chmod(0o755)

    def run(*arguments: str) -> tuple[str, list[str]]:
        argv = [script, tmp_path / "server", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        store, *options = done.stdout.split()
        return store, options[options.index("--artifacts-destination") :]

    return run


def test_a_store_is_told_from_an_option(start, tmp_path):
    own, elsewhere = f"sqlite:///{tmp_path}/server/mlflow.db", "--artifacts-destination=s3://bucket/mlflow"
    default = ["--artifacts-destination", f"{tmp_path}/server/artifacts"]
    assert start() == (own, default)
    assert start("--port", "80") == (own, [*default, "--port", "80"])
    assert start(elsewhere) == (own, [*default, elsewhere])
    store = "postgresql+psycopg2://mlflow@host/mlflow"
    assert start("postgresql://mlflow@host/mlflow", elsewhere) == (store, [*default, elsewhere])
