"""Samples → counts: what a model makes of each sample, in this process or by actors of Ray Data."""

import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mlflow
import numpy as np
import torch
from torch import nn

from datasets.ahead import ahead
from datasets.labels import CITYSCAPES, LABEL_SPACES, LabelSpace
from datasets.shards import Shards, decode
from pipelines import models
from pipelines.resources import on_cpus
from pipelines.terminal import duration, say
from rein_core import predict_labels, predict_probabilities
from rein_core.boundary import BoundaryMeter
from rein_core.calibration import CalibrationMeter
from rein_core.inference import labels_of
from rein_core.metrics import ConfusionMeter

_WRAPPED = "The above exception was the direct cause of the following exception:"
"""Python's words between an error and the one that was raised from it."""


@dataclass(frozen=True)
class Domain:
    """Samples that are scored together.

    Args:
        name: in reports.
        shards: where they lie.
        indices: of the samples that are scored.
        short_edge: images are resized to it first, in pixels; None: they stay as they are.
        corruption, severity: of `datasets.corruptions`, and 1 to 5; none if None.
    """

    name: str
    shards: Shards
    indices: list[int]
    short_edge: int | None = None
    corruption: str | None = None
    severity: int = 0

    @property
    def space(self) -> LabelSpace:
        """The label space that is scored."""
        return LABEL_SPACES[self.shards.manifest.label_space]

    def sample(self, index: int) -> tuple[str, np.ndarray, np.ndarray]:
        """Name, image (BGR uint8 [h, w, 3], corrupted alike each time) and truth (uint8 [h, w])."""
        stored = self.shards.read(index)
        image, truth = decode(stored)
        if self.corruption:
            from datasets.corruptions import corrupt

            image = corrupt(image, self.corruption, self.severity, seed=zlib.crc32(stored.name.encode()))
        return stored.name, image, truth


@dataclass(frozen=True)
class Protocol:
    """How an image is tested.

    Args:
        scales: of the domain's resolution; probabilities are averaged over all.
        flip: whether each is also seen mirrored.
        test_cfg: mmseg's mode, crop_size and stride; None: the recipe's.
        extras: whether calibration and outlines are measured too.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    test_cfg: dict[str, Any] | None = None
    extras: bool = False

    def prepare(self, segmentor: nn.Module) -> nn.Module:
        """The segmentor, tested whole or by windows as this says."""
        if self.test_cfg:
            segmentor.test_cfg = type(segmentor.test_cfg)(self.test_cfg)
        return segmentor

    def predict(self, segmentor: nn.Module, image: np.ndarray, domain: Domain) -> tuple[np.ndarray, np.ndarray | None]:
        """Ids of the domain's label space, uint8 [h, w], and with `extras` their probabilities, float32 [h, w]."""
        how = (segmentor, image, domain.short_edge, self.scales, self.flip)
        if not self.extras:
            return _collapse(predict_labels(*how), domain.space), None
        probabilities = predict_probabilities(*how)
        labels = _collapse(labels_of(probabilities), domain.space)
        covering = torch.stack([probabilities[list(members)].sum(dim=0) for members in domain.space.members])
        chosen = torch.from_numpy(labels.astype(np.int64)).to(covering.device)
        return labels, covering.gather(0, chosen[None])[0].cpu().numpy()


def _collapse(prediction: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Where labels are coarser than the 19 classes, predictions are made as coarse."""
    return prediction if space is CITYSCAPES else space.collapse(prediction)


@dataclass
class Counts:
    """What is known of a domain's samples, in the order of their indices.

    Attributes:
        names: of samples.
        confusions: int64 [classes, classes] each, true by predicted.
        calibration: as in `CalibrationMeter`; None where it was not measured.
        boundary: as in `BoundaryMeter`; None where it was not measured.
    """

    names: list[str] = field(default_factory=list)
    confusions: list[np.ndarray] = field(default_factory=list)
    calibration: np.ndarray | None = None
    boundary: np.ndarray | None = None

    def add(self, row: dict[str, Any]) -> None:
        """One sample's row, as `score` makes it."""
        confusion = np.frombuffer(row["confusion"], np.int64)
        classes = int(confusion.size**0.5)
        self.names.append(str(row["name"]))
        self.confusions.append(confusion.reshape(classes, classes))
        if row["calibration"]:
            calibration = np.frombuffer(row["calibration"]).reshape(-1, 3)
            boundary = np.frombuffer(row["boundary"], np.int64).reshape(classes, 3)
            self.calibration = calibration if self.calibration is None else self.calibration + calibration
            self.boundary = boundary if self.boundary is None else self.boundary + boundary

    def by_name(self) -> dict[str, np.ndarray]:
        """Each sample's confusion."""
        return dict(zip(self.names, self.confusions, strict=True))

    def meter(self) -> ConfusionMeter:
        """All samples' pixels together."""
        return meter_of(np.sum(self.confusions, axis=0))


def meter_of(confusion: np.ndarray) -> ConfusionMeter:
    """A meter with these counts, int64 [classes, classes]."""
    meter = ConfusionMeter(len(confusion))
    meter.counts += torch.from_numpy(confusion)
    return meter


def score(
    segmentor: nn.Module, domain: Domain, sample: tuple[str, np.ndarray, np.ndarray], protocol: Protocol
) -> dict[str, Any]:
    """The `name` of a sample, as `Domain.sample` gives it, and its counts as bytes, which travel whatever their shape:
    `confusion`, `calibration` and `boundary`, the last two empty without `protocol.extras`."""
    name, image, truth = sample
    labels, confidence = protocol.predict(segmentor, image, domain)
    meter = ConfusionMeter(len(domain.space.classes))
    meter.update(labels, truth)
    row = {"name": name, "confusion": meter.counts.numpy().tobytes(), "calibration": b"", "boundary": b""}
    if confidence is not None:
        calibration, boundary = CalibrationMeter(), BoundaryMeter(len(domain.space.classes))
        calibration.update(confidence, labels, truth)
        boundary.update(labels, truth)
        row |= {"calibration": calibration.counts.tobytes(), "boundary": boundary.counts.tobytes()}
    return row


class Scorer:
    """An actor of Ray Data: loads the model once, and scores batches of samples.

    Args:
        model: as in `models.load`, which every machine must see.
        tracking_uri: the MLflow store that knows `runs:/…` and `models:/…`.
        threads: of torch.
    """

    def __init__(
        self,
        model: str,
        vfm_weights: str | None,
        domains: list[Domain],
        protocol: Protocol,
        tracking_uri: str,
        threads: int,
    ):
        mlflow.set_tracking_uri(tracking_uri)
        torch.set_num_threads(threads)
        self.domains, self.protocol = domains, protocol
        self.segmentor = protocol.prepare(models.load(model, vfm_weights)[0])

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """`domain` and `index` of samples → the rows of `score` beside them."""
        domains = [self.domains[place] for place in batch["domain"]]
        samples = [domain.sample(index) for domain, index in zip(domains, batch["index"].tolist(), strict=True)]
        chosen = zip(domains, samples, strict=True)
        rows = [score(self.segmentor, domain, sample, self.protocol) for domain, sample in chosen]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return {"domain": batch["domain"], "index": batch["index"]} | columns


def score_here(segmentor: nn.Module, domains: list[Domain], protocol: Protocol) -> Iterator[dict[str, Any]]:
    """Rows of all samples of all domains, by the segmentor of this process."""
    for place, domain in enumerate(domains):
        for index, sample in ahead(domain.sample, domain.indices):
            yield {"domain": place, "index": index} | score(segmentor, domain, sample, protocol)


def score_by_actors(
    model: str, vfm_weights: str | None, domains: list[Domain], protocol: Protocol, workers: int
) -> Iterator[dict[str, Any]]:
    """The same rows, in any order, by so many actors on the cluster that Ray has joined: each on a GPU, if there are
    any, else on its share of the CPUs. An actor that dies is replaced, and its samples are scored again.

    Raises:
        ValueError: an actor can't load the model, or can't score a sample.
    """
    import ray
    from ray.exceptions import RayError

    from pipelines.cluster import live_nodes

    nodes = live_nodes()
    cpus, threads = on_cpus(nodes, workers, 0.6)  # Ray Data needs some
    # no CPU beside a GPU, as a node may offer fewer of them: Ray Data would ask for one, and leave GPUs idle
    share = {"num_gpus": 1, "num_cpus": 0} if any(node.get("GPU") for node in nodes) else {"num_cpus": cpus}
    tasks = [{"domain": place, "index": i} for place, domain in enumerate(domains) for i in domain.indices]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = False  # a stream of this process asks for it; `_reason` is of the other kind
    rows = ray.data.from_items(tasks, override_num_blocks=min(len(tasks), 16 * workers)).map_batches(
        Scorer,
        fn_constructor_args=(model, vfm_weights, domains, protocol, mlflow.get_tracking_uri(), threads),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **share,
    )
    try:
        yield from rows.iter_rows()
    except RayError as error:
        raise ValueError(f"scoring failed on a worker: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The last line of what was raised in an actor; Ray Data wraps it where that was no start of one."""
    from ray.exceptions import UserCodeException

    told = str(error).rpartition(_WRAPPED)[0] if isinstance(error, UserCodeException) else str(error)
    return (told or str(error)).strip().splitlines()[-1]


def gather(rows: Iterable[dict[str, Any]], domains: list[Domain]) -> list[Counts]:
    """The counts of each domain, whatever order the rows come in."""
    found = [Counts() for _ in domains]
    for row in sorted(rows, key=lambda row: (row["domain"], row["index"])):
        found[row["domain"]].add(row)
    return found


def score_all(
    segmentor: nn.Module,
    model: str,
    vfm_weights: str | None,
    domains: list[Domain],
    protocol: Protocol,
    workers: int,
) -> list[Counts]:
    """Each domain's counts, by this segmentor, or by so many Ray actors that load `model` themselves."""
    if workers:
        from pipelines.cluster import connect  # takes seconds, as Ray does, and most evaluations do without

        connect()
        rows = score_by_actors(model, vfm_weights, domains, protocol, workers)
    else:
        rows = score_here(protocol.prepare(segmentor), domains, protocol)
    return gather(_with_progress(rows, sum(len(domain.indices) for domain in domains)), domains)


def _with_progress(rows: Iterable[dict], total: int, say_every: float = 10.0) -> Iterator[dict]:
    started = last = time.monotonic()
    for done, row in enumerate(rows, start=1):
        now = time.monotonic()
        if now - last > say_every:
            last = now
            say(f"scored {done}/{total}  left {duration((now - started) / done * (total - done))}")
        yield row
