"""`ingest`: a raw data set → shards, as a Ray Data job that checks every pair and can be killed and started again."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import ray.data

from datasets.codecs import IMAGE_CODECS
from datasets.convert import convert, id_table
from datasets.labels import CLASSES
from datasets.layouts import Layout, Pair, get_layout, layout_names
from datasets.parts import Plan, forget, part_file, prepare, read_note, read_notes, tidy, write_note
from datasets.shards import Manifest, exists, read_manifest, write_file, write_manifest
from datasets.storage import delete
from pipelines.cluster import connect
from pipelines.ingest_plan import make_plan
from pipelines.settings import absolute
from pipelines.terminal import duration, say

_SAY_SECONDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `ingest`."""
    parser.add_argument("layout", help=f"{', '.join(layout_names())}: a file in datasets/layouts; folder: your own")
    parser.add_argument("raw", help="the raw data set's folder: a path, s3:// or gs://")
    parser.add_argument("out", help="where shards go: a path, s3:// or gs://")
    parser.add_argument("--split", help="default: the only split there is, or train")
    parser.add_argument("--name", help="the domain's name in reports; default: the layout's")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--limit", type=int, help="take this many evenly spread pairs")
    some.add_argument(
        "--without", type=int, metavar="N", help="leave out the pairs that --limit N takes, which are then held out"
    )
    parser.add_argument(
        "--codec",
        choices=IMAGE_CODECS,
        default=IMAGE_CODECS[0],
        help="of the images: original keeps the files (default), zstd is lossless, of PNGs about as big and more than "
        "twice as fast to decode (of JPEGs five to eight times as big: keep those), jpeg95 is smallest and fastest and "
        "loses a little; labels are lossless always",
    )
    parser.add_argument("--max-bad", type=float, default=0.1, help="fail if more than this share is bad (default 0.1)")
    parser.add_argument("--overwrite", action="store_true", help="replace what another ingest left there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns counts, the quarantined samples and the manifest's digest.

    Started again after it was killed, it keeps the part files that are whole and makes the others.
    """
    started, args.raw, args.out = time.time(), absolute(args.raw), absolute(args.out)
    layout, split, pairs = get_layout(args.layout).find(args.raw, args.split)
    pairs = _some(pairs, args.limit, args.without)
    plan = make_plan(pairs, layout, split, args.name or layout.domain(split), args.codec)
    prepare(args.out, plan, args.overwrite)
    if not exists(args.out):  # else it was killed while it tidied up
        _make_parts(args.out, plan, layout, pairs)
        _make_whole(args.out, plan, layout, args.max_bad)
    tidy(args.out)
    return _close(args.out, time.time() - started)


def _make_whole(out: str, plan: Plan, layout: Layout, max_bad: float) -> None:
    """Writes the manifest. Raises ValueError if too many samples are bad, or another ingest took parts away."""
    notes = read_notes(out, plan)
    if len(notes) < len(plan.ends):
        if exists(out) and _is_of(read_manifest(out), plan):
            return  # the same ingest ran twice at once, and the other was faster
        raise ValueError(f"{out}: another ingest wrote there at the same time: run this again when it has ended")
    manifest = _summarize(list(notes.values()), plan, layout)
    if reason := _too_bad(manifest, plan.pairs, max_bad):
        forget(out, [part for part, note in notes.items() if note["quarantined"]])
        raise ValueError(reason)
    write_manifest(out, manifest)


def _is_of(manifest: Manifest, plan: Plan) -> bool:
    made = manifest.dataset, manifest.layout, manifest.split, manifest.image_codec
    pairs = manifest.samples + len(manifest.quarantined)
    return (*made, pairs) == (plan.dataset, plan.layout, plan.split, plan.codec, plan.pairs)


def _some(pairs: list[Pair], limit: int | None, without: int | None) -> list[Pair]:
    """Those that --limit and --without leave. Raises ValueError if that is none."""
    if limit is None and without is None:
        return pairs
    spread = set(np.linspace(0, len(pairs) - 1, max(limit or without or 0, 0)).round().astype(int).tolist())
    left = [pair for i, pair in enumerate(pairs) if (i in spread) == (without is None)]
    if not left:
        option = f"--limit {limit}" if without is None else f"--without {without}"
        raise ValueError(f"ingest: {option} leaves none of {len(pairs)} pairs: choose another number")
    return left


def _close(out: str, seconds: float) -> dict[str, Any]:
    """Tells what is there now."""
    manifest = read_manifest(out)
    bad = manifest.quarantined
    say(
        f"{manifest.samples} samples in {len(manifest.files)} files, {len(bad)} quarantined, {duration(seconds)} "
        f"({(manifest.samples + len(bad)) / seconds:.1f} pairs/s with the start): {out}"
    )
    for entry in bad[:5]:
        say(f"quarantined {entry['name']}: {entry['reason']}")
    return {
        "out": out,
        "dataset": manifest.dataset,
        "samples": manifest.samples,
        "quarantined": bad,
        "files": len(manifest.files),
        "bytes": sum(entry["bytes"] for entry in manifest.files),
        "digest": manifest.digest,
        "seconds": round(seconds, 1),
    }


def _make_parts(out: str, plan: Plan, layout: Layout, pairs: list[Pair]) -> None:
    """One task a part that isn't there yet, all over the cluster."""
    there = read_notes(out, plan)
    chunks = [
        {"part": part, "pairs": [vars(pair) for pair in pairs[where]]}
        for part, where in enumerate(plan.parts)
        if part not in there
    ]
    kept = f"; {len(there)} of {len(plan.parts)} files are there already" if there else ""
    say(f"ingesting {len(pairs)} pairs of {layout.name}, split {plan.split}{kept}")
    if not chunks:
        return
    connect()
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map(Writer(out, plan, layout), num_cpus=1)
    _tell(files.iter_rows(), sum(len(chunk["pairs"]) for chunk in chunks))


def _tell(made: Iterator[dict], total: int) -> None:
    """Waits for all parts, and says now and then how far they are. Raises OSError if one can't be written."""
    done = bad = first = 0
    started = said = 0.0
    for part in made:
        if part["failed"]:
            raise OSError(f"{part['failed']}: mend that and run the same command again, and it goes on")
        done, bad, now = done + part["pairs"], bad + part["bad"], time.monotonic()
        if not first:
            first, started, said = done, now, now  # what came before was Ray's start more than work
        elif now - said >= _SAY_SECONDS and done < total:
            rate, said = (done - first) / (now - started), now
            say(f"{done}/{total} pairs, {rate:.1f}/s, {bad} quarantined, {duration((total - done) / rate)} left")


class Writer:
    """Runs in Ray Data's tasks: a chunk of pairs → a Parquet file and a note of what is in it."""

    def __init__(self, out: str, plan: Plan, layout: Layout):
        self.out, self.plan, self.table = out, plan, id_table(layout)
        self.origin = {"dataset": plan.dataset, "split": plan.split}

    def __call__(self, chunk: dict) -> dict[str, Any]:
        cv2.setNumThreads(1)  # there is a task on every core
        told = {"pairs": len(chunk["pairs"]), "bad": 0, "failed": ""}
        try:
            return told | {"bad": len(self._make(chunk["part"], chunk["pairs"])["quarantined"])}
        except OSError as error:  # a full disk, a store that can't be reached
            return told | {"failed": str(error)}

    def _make(self, part: int, pairs: list[dict]) -> dict:
        note = read_note(self.out, part, self.plan)  # a task that died as it ended is run again
        if note is None:
            note = {"quarantined": [], "sizes": {}, "class_pixels": [0] * len(CLASSES)}
            note["entry"] = write_file(self.out, part_file(part), self._rows(pairs, note))
            if note["entry"] is None:
                delete(self.out, [part_file(part)])  # which it may have had when its pairs were good
            write_note(self.out, part, self.plan, note)
        return note

    def _rows(self, pairs: list[dict], note: dict) -> Iterator[dict]:
        for pair in pairs:
            try:
                row = convert(Pair(**pair), self.table, self.plan.codec)
            except ValueError as error:
                note["quarantined"].append({"name": pair["name"], "reason": str(error)})
                continue
            size = f"{row['height']}×{row['width']}"
            note["sizes"][size] = note["sizes"].get(size, 0) + 1
            note["class_pixels"] = [a + b for a, b in zip(note["class_pixels"], row["class_pixels"], strict=True)]
            yield row | self.origin


def _summarize(notes: list[dict], plan: Plan, layout: Layout) -> Manifest:
    entries = [note["entry"] for note in notes if note["entry"]]
    sizes = sum((Counter(note["sizes"]) for note in notes), Counter())
    return Manifest(
        dataset=plan.dataset,
        layout=layout.name,
        split=plan.split,
        label_space=layout.label_space.name,
        files=[dict(sorted(entry.items())) for entry in entries],
        samples=sum(entry["rows"] for entry in entries),
        class_pixels=[sum(column) for column in zip(*(note["class_pixels"] for note in notes), strict=True)],
        sizes=dict(sorted(sizes.items())),
        quarantined=[bad for note in notes for bad in note["quarantined"]],
        image_codec=plan.codec,
    )


def _too_bad(manifest: Manifest, total: int, max_bad: float) -> str | None:
    bad = manifest.quarantined
    if len(bad) <= max_bad * total and manifest.samples:
        return None
    reasons = "; ".join(f"{entry['name']}: {entry['reason']}" for entry in bad[:3])
    return f"{len(bad)} of {total} samples are bad ({reasons}): mend them, or allow more with --max-bad"
