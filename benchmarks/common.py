"""What all measurements share: interleaved medians, the machine in words, and the JSON line."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch

from pipelines.checkout import commit


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def interleaved(functions: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, dict]:
    """Median seconds of each phase of each function, and all `rounds`; they take turns, so noise falls on all alike.

    Args:
        functions: each does the work once and returns seconds by phase. The first round warms up and is not counted.
    """
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            seconds = function()
            if turn:
                taken[name].append(seconds)
                sys.stderr.write(f"{name}: {sum(seconds.values()):.3f} s\n")
    return {
        name: {phase: statistics.median(one[phase] for one in runs) for phase in runs[0]}
        | {"rounds": [sum(one.values()) for one in runs]}
        for name, runs in taken.items()
    }


def ratio(peer: dict, ours: dict) -> float:
    """Median over the rounds of the peer's time by ours: a machine that slows down meanwhile does not change it."""
    return round(statistics.median(p / o for p, o in zip(peer["rounds"], ours["rounds"], strict=True)), 2)


class Stopwatch:
    """Seconds by phase; on CUDA by the device's clock, so that no phase waits for the one before."""

    def __init__(self, on: torch.device):
        self.on, self.marks = on, []
        if on.type == "cuda":
            torch.cuda.synchronize()
        self.lap("")

    def lap(self, phase: str) -> None:
        """Books the time since the last lap on `phase`."""
        if self.on.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        else:
            mark = time.perf_counter()
        self.marks.append((phase, mark))

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, once the device is through."""
        if self.on.type == "cuda":
            torch.cuda.synchronize()
        seconds: dict[str, float] = {}
        for (_, before), (phase, after) in pairwise(self.marks):
            took = before.elapsed_time(after) / 1000 if self.on.type == "cuda" else after - before
            seconds[phase] = seconds.get(phase, 0.0) + took
        return seconds


def peak_memory(on: torch.device) -> float:
    """GiB: of this process on the CPU (it only grows), of all tensors since the last reset on CUDA."""
    if on.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return round(peak, 2)
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 2**20, 2)


def in_a_process(module: str, *options: str) -> dict:
    """What a measurement prints with these options, in a process of its own: its peak memory is nobody else's."""
    argv = [sys.executable, "-W", "ignore", "-m", module, *options]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[1:])}: {done.stderr.strip()[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(f"{' '.join(options)}: {result}\n")
    return result


def prepare(*argv: str) -> None:
    """A command of the pipeline, in a process of its own."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", "pipelines", *argv], check=True, stdout=subprocess.DEVNULL)


def machine(on: torch.device) -> dict[str, str | int | bool | None]:
    """What the figures were taken on."""
    words = {"torch": torch.__version__, "python": platform.python_version(), "commit": commit()}
    if on.type == "cuda":
        return words | {"device": torch.cuda.get_device_name()}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": ?")
    return words | {
        "device": model.split(": ")[1],
        "vectors": torch.backends.cpu.get_cpu_capability(),  # processors of one name differ
        "threads": torch.get_num_threads(),
        "amx": torch.cpu._is_amx_tile_supported(),
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--json` and `--rounds`, which every measurement takes."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", action="store_true", help="print one JSON line, last")
    arguments.add_argument("--rounds", type=int, default=5, help="counted rounds; medians are reported")
    return arguments


def emit(result: dict, as_json: bool) -> None:
    """The result as one line, or indented for reading."""
    print(json.dumps(result, indent=None if as_json else 2), flush=True)
