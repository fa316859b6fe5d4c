"""`predict`: label maps, overlays and probabilities of images in folders, globs, lists, stores and videos."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from pipelines import models, sources, tracking
from pipelines.overlap import WriteBehind, read_ahead
from pipelines.pictures import Picture, check_size
from pipelines.predictions import ENDINGS, VIDEO, Predictions
from pipelines.protocol import add_view_arguments, scales_of
from pipelines.terminal import duration, say
from pipelines.video import Video, check_writable, write_video
from rein_core import predict_probabilities
from rein_core.checkpoint import trained_state, vfm_identity
from rein_core.inference import labels_of
from rein_core.vfms import digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `predict`."""
    parser.add_argument("model", help="checkpoint folder, run folder, runs:/ID/model or models:/NAME@ALIAS")
    parser.add_argument(
        "images",
        help="an image; a folder, which is searched whole; a glob in quotes ('dir/**/*.jpg'); a video; or a .txt "
        "with a path or URI a line; each a path, s3:// or gs:// URI, single files also https://",
    )
    parser.add_argument(
        "out",
        help="path, s3:// or gs:// URI: gets labels/ (8-bit PNGs of train ids) and overlays/; what is in it is not "
        "made again",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="also probabilities/NAME.npy, float16 [19, h, w]: 38 bytes a pixel"
    )
    parser.add_argument("--no-overlays", action="store_true", help="leave the overlays out")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of a video only every N-th frame")
    parser.add_argument("--video", action="store_true", help="of a video also OUT/overlay.mp4")
    parser.add_argument("--short-edge", type=int, help="resize images to this short edge first; default: the recipe's")
    add_view_arguments(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="empty OUT of what another model, settings or images left; what goes with these is still not made again",
    )
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: every image that can be read is predicted; those that are in OUT already are left as they are.

    Raises:
        ValueError: nothing to predict, options that don't go together, an OUT that holds something else or that another
            process writes to; or, when all others are done, the images that could not be read.
    """
    source = sources.find(args.images, args.out, args.every)
    _check(args, source)
    args.scales = scales_of(args)
    tracking.configure(args.storage)
    segmentor, recipe, _ = models.load(args.model, args.vfm_weights)
    args.short_edge = args.short_edge or recipe["test"]["short_edge"]
    predictions = Predictions(args.out, _kinds(args))
    with predictions.alone():
        predictions.begin(_settings(args, source, segmentor, recipe), args.overwrite, source.places)
        work = _Work(args, segmentor, predictions, source)
        work.run()
        if args.video:
            write_video(args.out, sorted(work.done, key=int), source.rate / args.every, VIDEO)
    if work.failed:
        raise ValueError(
            f"{len(work.failed)} images can't be predicted ({'; '.join(work.failed[:5])}); "
            f"the other {len(work.done)} are done"
        )
    return {"out": args.out, "images": len(work.done), "already_there": len(work.done) - work.predicted}


class _Work:
    """All images of a source through a model, with what is done and what failed.

    Args:
        args: with `short_edge`, `scales`, `flip`.
    """

    def __init__(
        self, args: argparse.Namespace, segmentor: nn.Module, predictions: Predictions, source: sources.Images | Video
    ):
        self.args, self.segmentor, self.predictions, self.source = args, segmentor, predictions, source
        self.done: list[str] = []
        self.failed: list[str] = []
        self.predicted = 0
        self._said = self._started = time.monotonic()

    def run(self) -> None:
        """Reads ahead and writes behind, so that neither images nor results pile up."""
        with WriteBehind() as behind:
            for picture, image in read_ahead(self._missing(), self.source.threads):
                if image is None:  # after a video's last frame
                    continue
                try:
                    labels, probabilities = self._predict(image)
                except ValueError as error:
                    self.failed.append(f"{picture.place}: {error}")
                    say(self.failed[-1])
                else:
                    behind.submit(self.predictions.write, picture.name, image, labels, probabilities)
                    self.done.append(picture.name)
                    self.predicted += 1
                self._progress()
        self._progress(last=True)

    def _missing(self) -> Iterator[Picture]:
        for picture in self.source.pictures():
            if self.predictions.missing(picture.name):
                yield picture
            else:
                self.done.append(picture.name)

    def _predict(self, image: np.ndarray | ValueError) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels and, if they are wanted, probabilities. Raises ValueError if there is no image, or one too large."""
        if isinstance(image, ValueError):
            raise image
        short_edge, scales = self.args.short_edge, self.args.scales
        factor = max(scales) * (short_edge / min(image.shape[:2]) if short_edge else 1)
        try:
            check_size(round(image.shape[1] * factor), round(image.shape[0] * factor))
        except ValueError as error:
            raise ValueError(f"at short edge {short_edge} and scale {max(scales)} it has {error}") from error
        scores = predict_probabilities(self.segmentor, image, short_edge, scales, self.args.flip)
        return labels_of(scores), scores.half().cpu().numpy() if self.args.probabilities else None

    def _progress(self, last: bool = False) -> None:
        """A line every ten images, or every ten seconds where these come faster."""
        count, total, now = len(self.done) + len(self.failed), self.source.total, time.monotonic()
        if not last and (self.predicted % 10 or self.predicted == 0 or (count > 100 and now - self._said < 10)):
            return
        self._said = now
        left = (now - self._started) / max(1, self.predicted) * max(0, total - count)
        say(f"predicted {count}/{total}" + (f", {duration(left)} left" if not last and left > 60 else ""))


def _kinds(args: argparse.Namespace) -> tuple[str, ...]:
    wanted = {"labels": True, "overlays": not args.no_overlays, "probabilities": args.probabilities}
    return tuple(kind for kind in ENDINGS if wanted[kind])


def _check(args: argparse.Namespace, source: sources.Images | Video) -> None:
    is_video = isinstance(source, Video)
    if (args.every != 1 or args.video) and not is_video:
        raise ValueError(f"--every and --video are for videos, and {args.images} is none")
    if args.video and args.no_overlays:
        raise ValueError("--video is made of the overlays: leave out --no-overlays")
    if args.every < 1 or (args.short_edge is not None and args.short_edge < 1):
        raise ValueError(f"--every {args.every}, --short-edge {args.short_edge}: give numbers from 1")
    if args.video:
        check_writable(source, source.rate / args.every)


def _settings(
    args: argparse.Namespace, source: sources.Images | Video, segmentor: nn.Module, recipe: dict[str, Any]
) -> dict[str, Any]:
    """All that decides what the results are; the model by its digest, for names like models:/NAME@ALIAS move."""
    trained = digest({name: value.cpu() for name, value in trained_state(segmentor).items()})
    return {
        "images": sources.recorded(args.images) if isinstance(source, Video) else sources.path_of(args.images),
        "model": trained,
        "vfm": (vfm_identity(segmentor) or {}).get("digest"),
        "test_cfg": recipe["model"].get("test_cfg"),
        "every": args.every,
        "short_edge": args.short_edge,
        "scales": list(args.scales),
        "flip": args.flip,
    }
