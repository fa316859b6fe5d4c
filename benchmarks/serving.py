"""How many images a second a served model labels over HTTP, and how long each takes, by the number of clients.

`python -m benchmarks.serving --json`: `mlflow models serve --env-manager local`, as the README starts it. Each client
sends one image in base64 over a connection that it keeps, waits for the label map, and sends it again. Client threads
share the machine's cores with the server. `ratio` is the model's own time for the image, in a process without HTTP, by
the server's time an image at its best; `cpu_ratio` is the same of CPU time, which what else runs on the machine hardly
changes.

The image is procedural and the model untrained unless they are given: neither changes what a request costs.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import psutil

from benchmarks import common
from datasets.scenes.render import render
from pipelines.terminal import quiet

BIN = Path(sys.executable).parent
START, PATIENCE = 120, 300
"""Seconds that a server may take to start, and a request to be answered."""


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parser().parse_args(argv)
    quiet()
    image = Path(args.image).read_bytes() if args.image else street(args.size)
    if args.alone:
        common.emit(alone(args.model, image, args.rounds), True)
        return
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        model = args.model or untrained(Path(folder))
        own = beside(model, image, args, Path(folder))
        with served(model, args.workers, Path(folder) / "log") as server:
            levels = [measure(server, image, clients, args.warm_up, args.seconds) for clients in args.clients]
    setting = {"model": args.model or "untrained demo", "image": size_of(image), "bytes": len(image)}
    setting |= {name: getattr(args, name) for name in ("seconds", "warm_up", "workers", "rounds")}
    result = ratios(own, levels) | {"alone": own, "levels": levels, "setting": setting}
    common.emit(result | {"machine": common.machine(common.device())}, args.json)


def ratios(own: dict[str, float], levels: list[dict[str, Any]]) -> dict[str, float]:
    """What the model alone takes by what the server takes, of time and of CPU time, each at the server's best."""
    fastest = max(level["requests_per_second"] for level in levels)
    cheapest = min(level["cpu_ms"] for level in levels)
    return {"ratio": round(own["ms"] * fastest / 1000, 3), "cpu_ratio": round(own["cpu_ms"] / cheapest, 3)}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    arguments = common.parser(__doc__)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_argument("--model", help="models:/… or runs:/… in MLFLOW_TRACKING_URI (default: an untrained demo)")
    arguments.add_argument("--image", metavar="FILE", help="send this one (default: a street is drawn)")
    arguments.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"), help="of that street")
    arguments.add_argument("--seconds", type=float, default=30, help="of measuring, for each number of clients")
    arguments.add_argument("--warm-up", type=float, default=5, help="seconds before, which don't count")
    arguments.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8], help="at a time, one after another")
    arguments.add_argument("--workers", type=int, default=1, help="processes of the server")
    arguments.add_argument("--alone", action="store_true", help="measure the model without a server only")
    return arguments


def street(size: tuple[int, int]) -> bytes:
    """A procedural street of this height and width, as a JPEG."""
    return cv2.imencode(".jpg", render(0, 0, "camera", tuple(size))[0][..., ::-1])[1].tobytes()


def size_of(image: bytes) -> list[int]:
    """Height and width."""
    return list(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape[:2])


def untrained(folder: Path) -> str:
    """Registers the demo's model as it is before training, in a store of its own, and returns its URI."""
    from pipelines.recipe import load_recipe  # with these, `--help` would take seconds
    from pipelines.register import register
    from rein_core import build_segmentor
    from rein_core.checkpoint import save_checkpoint

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    recipe = load_recipe("demo")
    save_checkpoint(folder / "demo", build_segmentor(recipe.model_section()), recipe.model_dump(mode="json"), {})
    return register(str(folder / "demo"), "untrained", storage=str(folder))["uri"]


def beside(model: str, image: bytes, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """What `alone` gives, in a process of its own."""
    (folder / "image").write_bytes(image)
    options = ("--alone", "--model", model, "--image", str(folder / "image"), "--rounds", str(args.rounds))
    return common.in_a_process("benchmarks.serving", *options)


def alone(model: str, image: bytes, rounds: int) -> dict[str, float]:
    """Median milliseconds of the loaded model for the image, decoded and encoded as for a request, and peak memory."""
    import mlflow

    loaded, times = mlflow.pyfunc.load_model(model), []
    for _ in range(rounds + 1):
        before = time.perf_counter(), time.process_time()
        loaded.predict(pd.DataFrame({"image": [image]}))
        times.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    wall, cpu = (1000 * statistics.median(each) for each in zip(*times[1:], strict=True))  # the first one warms up
    return {"ms": round(wall, 1), "cpu_ms": round(cpu, 1), "GiB": common.peak_memory(common.device())}


@dataclass
class Server:
    """A server that answers at a port of loopback."""

    process: subprocess.Popen
    port: int

    def cpu_seconds(self) -> float:
        """Of it and the processes below it; 0 if it has ended."""
        with suppress(psutil.Error):
            own = psutil.Process(self.process.pid)
            times = [each.cpu_times() for each in [own, *own.children(recursive=True)]]
            return sum(each.user + each.system for each in times)
        return 0.0


@contextmanager
def served(model: str, workers: int, log: Path) -> Iterator[Server]:
    """A server of the model until the end.

    Raises:
        RuntimeError: it does not start, or has ended by then; with the end of its log.
    """
    port = free_port()
    argv = [BIN / "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local", "--port", str(port)]
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_MODELS_WORKERS": str(workers)}
    with open(log, "w") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(process, port, log)
        yield Server(process, port)
        if process.poll() is not None:
            raise RuntimeError(f"the server has ended: {log.read_text().strip()[-2000:]}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """Of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(process: subprocess.Popen, port: int, log: Path) -> None:
    """Until the server answers. Raises RuntimeError if it ends, or takes longer than START."""
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/ping")
            return
        except (OSError, http.client.HTTPException, RuntimeError):
            time.sleep(0.25)
    raise RuntimeError(f"the server does not start: {log.read_text().strip()[-2000:]}")


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    """The answer's body. Raises RuntimeError with what the server says if it refuses."""
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:500].decode(errors='replace')}")
    return content


def measure(server: Server, image: bytes, clients: int, warm_up: float, seconds: float) -> dict[str, Any]:
    """So many clients at a time, all through the warm-up and then until the time is over.

    Returns:
        what `summary` does, and the server's `cpu_ms` a request, of all that were sent, the warm-up's too.

    Raises:
        RuntimeError: no request was answered.
    """
    body = request_of(image)
    with ThreadPoolExecutor(clients) as threads:
        before, begin = server.cpu_seconds(), time.monotonic() + warm_up
        work = partial(client, server.port, body, begin + seconds)
        done = [each for one in [threads.submit(work) for _ in range(clients)] for each in one.result()]
    result = summary(done, begin, seconds) | {"cpu_ms": round(1000 * (server.cpu_seconds() - before) / len(done), 1)}
    sys.stderr.write(f"{clients} clients: {result}\n")
    return {"clients": clients} | result


def request_of(image: bytes) -> bytes:
    """The README's request for one image."""
    text = base64.b64encode(image).decode()
    return json.dumps({"dataframe_split": {"columns": ["image"], "data": [[text]]}}).encode()


Request = tuple[float, float, str | None]
"""When it was sent and answered, by the monotonic clock, and what went wrong."""


def client(port: int, body: bytes, end: float) -> list[Request]:
    """Sends one request after another until `end`. After an error it connects anew."""
    done, connection = [], http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    while (sent := time.monotonic()) < end:
        wrong = None
        try:
            check(ask(connection, "POST", "/invocations", body))
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            wrong = f"{type(error).__name__}: {error}"
            connection.close()
            time.sleep(0.05)  # a server that refuses at once would be asked thousands of times
        done.append((sent, time.monotonic(), wrong))
    connection.close()
    return done


def check(answer: bytes) -> None:
    """Raises ValueError if this is no label map."""
    try:
        row = json.loads(answer)["predictions"][0]
        whole = base64.b64decode(row["labels"], validate=True).startswith(b"\x89PNG")
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no label map in {answer[:200]!r}") from error
    if not whole:
        raise ValueError(f"no PNG in {answer[:200]!r}")


def summary(done: list[Request], begin: float, seconds: float) -> dict[str, Any]:
    """Figures of these requests, from `begin` on, when the warm-up ends.

    Returns:
        `requests` that were sent from then on and answered with a label map, and their latency in milliseconds
        (`mean`, `p50`, `p99`, `longest`); `requests_per_second`, of all label maps that came within these `seconds`,
        whenever they were asked for: all clients are waiting at both ends; `errors`, which count in none of these.

    Raises:
        RuntimeError: no request was answered that was sent from `begin` on.
    """
    within = [1 for _, answered, wrong in done if not wrong and begin <= answered <= begin + seconds]
    counted = [each for each in done if each[0] >= begin]
    taken = [1000 * (answered - sent) for sent, answered, wrong in counted if not wrong]
    errors = [wrong for _, _, wrong in counted if wrong]
    if not taken:
        raise RuntimeError(f"no request was answered: {errors[-1] if errors else 'none was sent'}")
    result = {"requests": len(taken), "requests_per_second": round(len(within) / seconds, 3), "errors": len(errors)}
    return result | latencies(taken) | ({"last_error": errors[-1]} if errors else {})


def latencies(taken: list[float]) -> dict[str, float]:
    """Mean, median, 99th percentile and maximum, in the milliseconds that it gets."""
    figures = {"mean": statistics.fmean(taken), "p50": statistics.median(taken), "p99": np.percentile(taken, 99)}
    return {name: round(float(figure), 1) for name, figure in (figures | {"longest": max(taken)}).items()}


if __name__ == "__main__":
    main()
