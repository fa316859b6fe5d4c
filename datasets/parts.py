"""An ingest that can be killed: a plan first, then part files, each followed by a note of what is in it.

A part counts as done once its note is there. The manifest is made from the notes alone, so it doesn't matter which run
made which part; when it is written, plan and notes are removed.
"""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import pairwise

from datasets.storage import PARTIAL, delete, filesystem, listing, read_json, size, write_json

MANIFEST = "manifest.json"
PLAN = "ingest-plan.json"
_PART = re.compile(r"part-\d{5}\.(parquet|json)")
_NAMES = rf"{_PART.pattern}|{re.escape(MANIFEST)}|{re.escape(PLAN)}"
_OURS = re.compile(rf"({_NAMES})(\.[0-9a-f]{{8}}{re.escape(PARTIAL)})?")
_THREADS = 16


@dataclass(frozen=True)
class Plan:
    """What an ingest makes. Two plans are equal if one can go on where the other was killed: it keeps the parts whose
    `changed` is the same, and makes the others again.

    Args:
        dataset, layout, split: what is ingested, and under which name.
        codec: of the stored images.
        pairs: how many there are.
        digest: over the pairs' names and the meaning of the label ids.
        ends: for each part the number of pairs in it and in those before it. Follows from the images' sizes.
        changed: for each part a digest over its pairs' names and their files' sizes and times of change.
    """

    dataset: str
    layout: str
    split: str
    codec: str
    pairs: int
    digest: str
    ends: tuple[int, ...] = field(compare=False)
    changed: tuple[str, ...] = field(default=(), compare=False)

    @property
    def parts(self) -> list[slice]:
        """The pairs of each part."""
        return [slice(*bounds) for bounds in pairwise((0, *self.ends))]

    @cached_property
    def key(self) -> str:
        """Another for every plan that isn't equal."""
        compared = {name: getattr(self, name) for name in self._compared}
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()

    @property
    def _compared(self) -> list[str]:
        return [field.name for field in fields(self) if field.compare]

    def differences(self, other: "Plan") -> str:
        """`codec original, now zstd`, for a message."""
        told = {"digest": "other pairs or other label ids"}
        differing = [name for name in self._compared if getattr(self, name) != getattr(other, name)]
        texts = [told.get(name, f"{name} {getattr(self, name)}, now {getattr(other, name)}") for name in differing]
        return "; ".join(texts)


def part_file(part: int) -> str:
    """Name of a part's Parquet file."""
    return f"part-{part:05d}.parquet"


def _note(part: int) -> str:
    return f"part-{part:05d}.json"


def read_plan(uri: str) -> Plan | None:
    """The plan of the ingest that was killed here, if there is one.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    if size(uri, PLAN) is None:
        return None
    try:
        values = read_json(uri, PLAN)
        return Plan(**values | {name: tuple(values.get(name, ())) for name in ("ends", "changed")})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{uri}: {PLAN} is damaged, or of another version: ingest again with --overwrite") from error


def prepare(uri: str, plan: Plan, overwrite: bool) -> None:
    """Makes the folder ready for the plan's parts: empty, or as a killed ingest with an equal plan left it.

    Raises:
        ValueError: shards are there already, or an unfinished ingest with another plan or one that can't be read, or
            files that no ingest wrote.
    """
    there, found = None, list(listing(uri))
    with suppress(ValueError) if overwrite else nullcontext():
        there = read_plan(uri)
    if there == plan and (MANIFEST not in found or (there.changed == plan.changed and not overwrite)):
        _cut(uri, plan, found)
        return
    foreign = [name for name in found if not _OURS.fullmatch(name)]
    if foreign:
        raise ValueError(f"{uri} holds {foreign[0]}, which no ingest wrote: choose an empty folder")
    if MANIFEST in found and not overwrite:
        raise ValueError(f"{uri} holds shards already: choose another folder, or add --overwrite")
    if there and not overwrite:
        raise ValueError(
            f"{uri} holds an unfinished ingest of something else ({there.differences(plan)}): "
            "repeat the command it was started with, choose another folder, or add --overwrite"
        )
    delete(uri, sorted(found, key=lambda name: name != MANIFEST))  # the manifest first: no half folder has one
    fs, path = filesystem(uri)
    fs.create_dir(path)
    write_json(uri, PLAN, asdict(plan))


def _cut(uri: str, plan: Plan, found: list[str]) -> None:
    """Takes an equal plan's place: as files may have changed since, it may have fewer parts."""
    own = {name for part in range(len(plan.ends)) for name in (part_file(part), _note(part))}
    delete(uri, [name for name in found if _PART.fullmatch(name) and name not in own])
    write_json(uri, PLAN, asdict(plan))


def write_note(uri: str, part: int, plan: Plan, note: dict) -> None:
    """Says that a part is done; to be called when its file, if it has one, is there.

    Args:
        note: `entry` is the file's manifest entry, or None where every pair was bad; the rest is the caller's.
    """
    write_json(uri, _note(part), note | _vouched(part, plan))


def _vouched(part: int, plan: Plan) -> dict[str, str]:
    return {"plan": plan.key, "changed": plan.changed[part] if plan.changed else ""}


def read_notes(uri: str, plan: Plan) -> dict[int, dict]:
    """The notes of the parts that are done: part → note."""
    found = listing(uri)
    written = [part for part in range(len(plan.ends)) if _note(part) in found]
    with ThreadPoolExecutor(_THREADS) as pool:
        notes = list(pool.map(lambda part: read_note(uri, part, plan), written))
    return {part: note for part, note in zip(written, notes, strict=True) if note}


def read_note(uri: str, part: int, plan: Plan) -> dict | None:
    """A part's note; None if it is damaged, the part isn't there as it says, its files have changed since, or another
    ingest made it.

    Tasks of an ingest that was killed may write notes late.
    """
    try:
        note = read_json(uri, _note(part))
    except ValueError:
        return None
    if not note or not _vouched(part, plan).items() <= note.items():
        return None
    entry = note["entry"]
    whole = not entry or size(uri, entry["file"]) == entry["bytes"]
    return note if whole else None


def forget(uri: str, parts: list[int]) -> None:
    """These parts will be made again."""
    delete(uri, [_note(part) for part in parts])


def tidy(uri: str) -> None:
    """Removes what only an unfinished ingest needs; the plan last, so that this can be killed as well."""
    found = list(listing(uri))
    notes = [name for name in found if name.startswith("part-") and name.endswith(".json")]
    delete(uri, notes + [name for name in found if name.endswith(PARTIAL)] + [PLAN])


def unfinished(uri: str) -> str | None:
    """What to tell of an ingest that isn't finished, or None if there is none."""
    plan = read_plan(uri)
    if plan:
        done = f"{len(read_notes(uri, plan))} of {len(plan.ends)} parts"
        return f"its ingest was killed with {done} done: run the same ingest again, and it goes on"
    if any(name.endswith(".parquet") for name in listing(uri)):
        return "its manifest is gone: run the same ingest again"
    return None
