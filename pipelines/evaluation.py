"""What an evaluation found: scores by domain and class, robustness, and each sample's counts for later comparison."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.labels import LabelSpace
from pipelines.scoring import Counts, Domain, Protocol, meter_of
from pipelines.terminal import to_json
from rein_core.boundary import BoundaryMeter
from rein_core.calibration import CalibrationMeter
from rein_core.metrics import ConfusionMeter

MEANS = ("mIoU", "mAcc", "aAcc", "fwIoU")
"""The scores that are one number a domain."""
METRICS, IMAGES = "metrics.json", "images.parquet"
"""The files of an evaluation: its result, and a row a sample with its confusion."""


def summarize(meter: ConfusionMeter, space: LabelSpace) -> dict[str, Any]:
    """All of the meter's scores, those a class by name. Classes that the truth never shows are left out."""
    return {
        name: _by_class(score, space) if isinstance(score, list) else round(score, 2)
        for name, score in meter.compute().items()
    }


def _by_class(scores: Sequence[float], space: LabelSpace) -> dict[str, float]:
    return {name: round(value, 2) for name, value in zip(space.classes, scores, strict=True) if value == value}


def flat_metrics(kind: str, domain: str, scores: dict[str, Any]) -> dict[str, float]:
    """Scores under the names they have in MLflow: kind/domain/mIoU, …/mAcc, …/aAcc, …/fwIoU and …/IoU/class."""
    single = [key for key, value in scores.items() if isinstance(value, float)]
    values = {f"{kind}/{domain}/{key}": scores[key] for key in single}
    return values | {f"{kind}/{domain}/IoU/{name}": iou for name, iou in scores["IoU"].items()}


def resolution(domain: Domain, protocol: Protocol) -> str:
    """At what size a domain's images were tested, in words."""
    sizes = domain.shards.manifest.sizes
    words = "as stored" if domain.short_edge is None else f"short edge {domain.short_edge}"
    if len(sizes) == 1:
        height, width = map(int, next(iter(sizes)).split("×"))
        factor = domain.short_edge / min(height, width) if domain.short_edge else 1
        words += f", {round(width * factor)}×{round(height * factor)}"
    elif domain.short_edge is None:
        words += f", {_range(sizes)}"
    test = protocol.test_cfg or {"mode": "whole"}
    if test["mode"] == "slide":
        words += f", windows of {'×'.join(map(str, test['crop_size'][::-1]))}, stride {test['stride'][0]}"
    if protocol.scales != (1.0,):
        words += ", scales " + " ".join(f"{scale:g}" for scale in protocol.scales)
    return words + (", mirrored too" if protocol.flip else "")


def _range(sizes: Iterable[str]) -> str:
    """The least and the largest of several "height×width", by their pixels, as width×height."""
    by_pixels = sorted((tuple(map(int, size.split("×"))) for size in sizes), key=math.prod)
    return " to ".join(f"{width}×{height}" for height, width in (by_pixels[0], by_pixels[-1]))


def scores_of(domain: Domain, counts: Counts, protocol: Protocol) -> dict[str, Any]:
    """One domain's scores, how many samples they are of, and how and on what these were tested."""
    scores = summarize(counts.meter(), domain.space)
    if counts.calibration is not None:
        calibration, boundary = CalibrationMeter(), BoundaryMeter(len(domain.space.classes))
        calibration.counts, boundary.counts = counts.calibration, counts.boundary
        outlines = boundary.compute()
        scores |= {"ECE": round(calibration.compute(), 2), "boundary_mIoU": round(float(np.nanmean(outlines)), 2)}
        scores["boundary_IoU"] = _by_class(outlines, domain.space)
    manifest = domain.shards.manifest
    tested = {"samples": len(domain.indices), "resolution": resolution(domain, protocol)}
    return scores | tested | {"uri": domain.shards.uri, "digest": manifest.digest}


def result_of(domains: list[Domain], counts: list[Counts], protocol: Protocol) -> dict[str, Any]:
    """All scores: `domains`, their `mean_mIoU`, `pooled` where conditions of one data set are domains, and
    `robustness` where domains were corrupted; in percent."""
    pairs = list(zip(domains, counts, strict=True))
    scores = {domain.name: scores_of(domain, found, protocol) for domain, found in pairs if not domain.corruption}
    result = {"domains": scores, "mean_mIoU": round(float(np.mean([each["mIoU"] for each in scores.values()])), 2)}
    pooled = _pooled([(domain, found) for domain, found in pairs if not domain.corruption], scores)
    robustness = _robustness(pairs)
    return result | ({"pooled": pooled} if pooled else {}) | ({"robustness": robustness} if robustness else {})


def _pooled(pairs: list[tuple[Domain, Counts]], scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Conditions of one layout (ACDC's fog, night, rain, snow) as one, from the sum of their confusions.

    Args:
        scores: of each domain.
    """
    layouts: dict[str, list[tuple[Domain, Counts]]] = {}
    for domain, counts in pairs:
        if domain.shards.manifest.layout != domain.shards.manifest.dataset:
            layouts.setdefault(domain.shards.manifest.layout, []).append((domain, counts))
    pooled = {}
    for layout, members in layouts.items():
        conditions = all(domain.shards.manifest.dataset.startswith(f"{layout}_") for domain, _ in members)
        if len(members) > 1 and conditions:
            total = np.sum([counts.meter().counts.numpy() for _, counts in members], axis=0)
            pooled[layout] = summarize(meter_of(total), members[0][0].space)
            names = [domain.name for domain, _ in members]
            sizes = dict.fromkeys(scores[name]["resolution"] for name in names)
            samples = sum(scores[name]["samples"] for name in names)
            pooled[layout] |= {"of": names, "samples": samples, "resolution": " | ".join(sizes)}
    return pooled


def _robustness(pairs: list[tuple[Domain, Counts]]) -> dict[str, Any]:
    """mIoU by corruption and severity; `mPC` is the mean over them, `rPC` its share of the clean mIoU (Michaelis et
    al., 2019, section 3.2)."""
    scores = {(d.name, d.corruption, d.severity): c.meter().compute()["mIoU"] for d, c in pairs}
    found = {}
    for domain in dict.fromkeys(name for name, kind, _ in scores if kind):
        kinds = dict.fromkeys(kind for name, kind, _ in scores if kind and name == domain)
        clean = scores[domain, None, 0]
        by_kind = {kind: [scores.get((domain, kind, severity)) for severity in range(1, 6)] for kind in kinds}
        mean = float(np.mean([np.mean([v for v in values if v is not None]) for values in by_kind.values()]))
        rounded = {kind: [v if v is None else round(v, 2) for v in values] for kind, values in by_kind.items()}
        relative = round(100 * mean / clean, 2) if clean else None
        found[domain] = {"clean": round(clean, 2), "mPC": round(mean, 2), "rPC": relative, "kinds": rounded}
    return found


def table(result: dict[str, Any]) -> str:
    """The scores as a Markdown table, a row a class, and one of robustness if there is any."""
    domains = result["domains"] | {f"{name}, all": scores for name, scores in result.get("pooled", {}).items()}
    classes = list(dict.fromkeys(name for domain in domains.values() for name in domain["IoU"]))
    head = ["IoU in %", *(_column(name, domain) for name, domain in domains.items())]
    rows = [[name, *(cell(d["IoU"].get(name)) for d in domains.values())] for name in classes]
    extras = [key for key in ("boundary_mIoU", "ECE") if any(key in domain for domain in domains.values())]
    rows += [[f"**{key}**", *(f"**{cell(d.get(key))}**" for d in domains.values())] for key in (*MEANS, *extras)]
    parts = [markdown([head, ["---"] * len(head), *rows])]
    for name, found in result.get("robustness", {}).items():
        head = [f"mIoU in %, {_column(name, domains[name])}", "severity 1", "2", "3", "4", "5"]
        rows = [[kind, *map(cell, values)] for kind, values in found["kinds"].items()]
        parts.append(markdown([head, ["---"] * len(head), *rows]))
        parts.append(
            f"clean {found['clean']}, mean under corruption (mPC) {found['mPC']}, relative (rPC) {found['rPC']} %"
        )
    return "\n\n".join(parts)


def _column(name: str, scores: dict[str, Any]) -> str:
    return f"{name} ({scores['samples']}; {scores['resolution']})"


def cell(value: float | None) -> str:
    """A score in a table; nothing where there is none."""
    return "" if value is None else f"{value:.1f}"


def markdown(lines: list[list[str]]) -> str:
    """A table from its cells."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(folder: Path, result: dict[str, Any], domains: list[Domain], counts: list[Counts]) -> None:
    """`metrics.json`, and `images.parquet` with the clean domains' samples."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"domain": domain.name, "name": name, "confusion": confusion.ravel()}
        for domain, found in zip(domains, counts, strict=True)
        if not domain.corruption
        for name, confusion in zip(found.names, found.confusions, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), folder / IMAGES)
    (folder / METRICS).write_text(to_json(result, indent=2))


_SCHEMA = pa.schema([("domain", pa.string()), ("name", pa.string()), ("confusion", pa.list_(pa.int64()))])


def read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The result, and by domain each sample's confusion, int64 [classes, classes].

    Raises:
        ValueError: the folder is no evaluation.
    """
    if not (folder / IMAGES).is_file() or not (folder / METRICS).is_file():
        raise ValueError(f"{folder} holds no evaluation ({METRICS} and {IMAGES}): evaluate … --report writes one")
    samples: dict[str, dict[str, np.ndarray]] = {}
    for row in pq.read_table(folder / IMAGES).to_pylist():
        confusion = np.array(row["confusion"], np.int64)
        samples.setdefault(row["domain"], {})[row["name"]] = confusion.reshape(int(confusion.size**0.5), -1)
    return json.loads((folder / METRICS).read_text()), samples
