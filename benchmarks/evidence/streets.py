"""The streets of the studies: shards of CamVid, IDD-lite, Cityscapes frames and procedural scenes.

All are labelled as CamVid is, so that the same eleven classes are trained and scored everywhere; IDD-lite keeps its
seven groups, which are made of them.
"""

import json
from pathlib import Path

from datasets.shards import exists
from pipelines.__main__ import command

CAMVID_CLASSES = {
    "road": [7],
    "sidewalk": [8],
    "building": [11, 12],  # with wall
    "fence": [13],
    "pole": [17],
    "traffic sign": [19, 20],  # with traffic light
    "vegetation": [21, 22],  # with terrain
    "sky": [23],
    "person": [24],
    "car": [26, 27, 28, 31, 32],  # all motor vehicles
    "bicycle": [25, 33],  # with its rider
}
"""Raw Cityscapes labelIds of each of CamVid's classes."""

SCENE_COUNT, SCENE_SIZE = 1000, "360x480"

CITYSCAPES = {
    "images": "leftImg8bit/train/*/*_leftImg8bit.png",
    "labels": "gtFine/train/*/*_gtFine_labelIds.png",
}
GTAV = {"images": "images/*.png", "labels": "labels/*.png"}


def prepare(data: Path, work: Path, scenes: int = SCENE_COUNT) -> None:
    """Makes the shards that are not there yet below `work`/shards.

    Args:
        data: a folder with `camvid`, `idd_lite` and `cityscapes`, each in its data set's own layout.
        scenes: how many procedural scenes are drawn to train on; a tenth as many, of another seed, are held out.

    Raises:
        ValueError: as `ingest` does, where a data set is missing; or scenes are there, but not so many.
    """
    _ingest(work, "camvid-train", "camvid", data / "camvid", "--split", "train")
    _ingest(work, "camvid-val", "camvid", data / "camvid", "--split", "val")
    _ingest(work, "idd-lite", "idd_lite", data / "idd_lite", "--split", "train")
    ingest_as_camvid(work, "cityscapes", data / "cityscapes", CITYSCAPES)
    for name, count, seed in (("scenes", scenes, 0), ("scenes-held-out", max(1, scenes // 10), 1)):
        ingest_as_camvid(work, name, _drawn(work / "raw" / name, count, seed), GTAV)


def _drawn(raw: Path, count: int, seed: int) -> Path:
    if not raw.exists():
        command(["scenes", str(raw), "--count", str(count), "--size", SCENE_SIZE, "--seed", str(seed)])
    there = len(list(raw.glob(GTAV["images"])))
    if there != count:
        raise ValueError(f"{raw} holds {there} scenes, not {count}: name another --work, or remove it and its shards")
    return raw


def shards(work: Path, name: str) -> str:
    """Where the shards of this name lie."""
    return str(work / "shards" / name)


def _ingest(work: Path, name: str, layout: str, raw: Path, *options: str) -> None:
    out = shards(work, name)
    if not exists(out):
        command(["ingest", layout, str(raw), out, "--name", name, "--codec", "zstd", *options])


def ingest_as_camvid(work: Path, name: str, raw: Path, globs: dict[str, str]) -> None:
    """Through the layout of one's own folder: links to the raw folders, and a `rein.yaml` that merges classes."""
    folder = work / "as-camvid" / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in {glob.split("/")[0] for glob in globs.values()}:
        if not (folder / part).exists():
            (folder / part).symlink_to((raw / part).resolve(), target_is_directory=True)
    ids = {raw_id: merged for merged, raw_ids in CAMVID_CLASSES.items() for raw_id in raw_ids}
    # JSON is YAML too, but for keys that are numbers
    lines = [f"  {raw_id}: {json.dumps(merged)}" for raw_id, merged in ids.items()]
    globs_of_split = json.dumps({"train": globs})
    text = "\n".join([f"splits: {globs_of_split}", "other_ids: void", "ids:", *lines, ""])
    (folder / "rein.yaml").write_text(text)
    _ingest(work, name, "folder", folder)
