"""What a sweep found: a row a trial, the best one, the Pareto fronts; as CSV and JSON."""

import csv
import io
import statistics
from typing import Any

from datasets import storage
from pipelines import runs
from rein_core.checkpoint import RECIPE
from tuning.sweep import DIVERGED, Record, Sweep

Row = dict[str, Any]
SETTINGS = ("adapter", "token_length", "rank", "lr", "scale", "layers")
COSTS = ("trained_parameters", "step_seconds")


def rows(sweep: Sweep) -> list[Row]:
    """A row a trial, the best first; those that diverged after a validation, and those without a score, last."""
    found = [_row(sweep, record) for record in sweep.records.values()]
    return sorted(found, key=lambda row: (row["score"] is None, row["status"] == DIVERGED, -(row["score"] or 0.0)))


def _row(sweep: Sweep, record: Record) -> Row:
    scored = [result for result in record.history if sweep.metric in result]
    best = max(scored, key=lambda result: result[sweep.metric], default={})
    checkpoint = _checkpoint(sweep, record) if scored else None
    times = [result["step_seconds"] for result in record.history if "step_seconds" in result]
    return record.draw | {
        "score": best.get(sweep.metric),
        "best_step": best.get("step"),
        "step": record.history[-1]["step"] if record.history else 0,
        "mIoU": best.get("mIoU"),
        "source_mIoU": best.get("source_mIoU"),
        "status": record.status,
        "trained_parameters": _trained(checkpoint),
        "step_seconds": round(statistics.median(times), 4) if times else None,
        "seconds": round(record.seconds, 1),
        "run_dir": sweep.run_folder(record),
        "checkpoint": checkpoint,
        "mlflow_run_id": sweep.mlflow_run_of(record),
        "error": record.error,
    }


def _checkpoint(sweep: Sweep, record: Record) -> str | None:
    """The best of the trial's run; the last, if it was killed while it wrote that."""
    folder = sweep.run_folder(record)
    best = storage.join(folder, runs.BEST)
    return best if storage.size(best, RECIPE) is not None else runs.last_checkpoint(folder)


def not_the_best(row: Row) -> str | None:
    """Why a row's checkpoint is not the one that its score is of; None if it is."""
    if row["checkpoint"] and storage.split(row["checkpoint"])[1] == runs.BEST:
        return None
    has = f"and {row['checkpoint']} is its last one" if row["checkpoint"] else "and has no other"
    return f"{row['run_dir']} lacks its best checkpoint, of step {row['best_step']}: it was killed in writing it, {has}"


def _trained(checkpoint: str | None) -> int | None:
    values = storage.read_json(checkpoint, RECIPE) if checkpoint else None
    return (values or {}).get("provenance", {}).get("trained_parameters")


def pareto(table: list[Row], cost: str) -> list[Row]:
    """Trials that no other beats at the same or a lower cost, by rising cost."""
    front: list[Row] = []
    with_both = [row for row in table if row["score"] is not None and row[cost] is not None]
    for row in sorted(with_both, key=lambda row: (row[cost], -row["score"])):
        if not front or row["score"] > front[-1]["score"]:
            front.append(row)
    return front


def to_csv(table: list[Row]) -> str:
    """The table with a line of names; settings that no trial has are left out."""
    names = [name for name in SETTINGS if any(name in row for row in table)]
    names += [name for name in table[0] if name not in SETTINGS]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def to_text(table: list[Row], metric: str) -> str:
    """The table for a terminal."""
    names = [name for name in SETTINGS if any(name in row for row in table)]
    lines = [[*names, metric, "at step", "parameters", "s/step", "trial"]]
    for row in table:
        drawn = [str(row.get(name, "")) for name in names]
        lines.append([*drawn, _number(row["score"], ".2f"), _number(row["best_step"], "d"),
                      _number(row["trained_parameters"], ",d"), _number(row["step_seconds"], ".3f"),
                      row["status"].lower()])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
