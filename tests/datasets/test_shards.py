"""Shards: whole or refused, readable sample by sample, and every changed byte is found."""

import hashlib
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.codecs import encode_image, encode_label
from datasets.open_files import open_file
from datasets.sample import Damaged, Sample
from datasets.shards import MANIFEST, Shards, decode, find_damage, read_manifest, write_file, write_manifest


@pytest.fixture
def copy(streets, tmp_path) -> Path:
    for file in Path(streets.game).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_samples_come_back_as_they_were(streets):
    shards = pickle.loads(pickle.dumps(Shards(streets.game)))
    assert len(shards) == 10 and shards.manifest.dataset == "game"
    sample = shards.read(3)
    image, label = decode(sample)
    raw = np.asarray(Image.open(streets.raw_gtav / "images" / f"{sample.name}.png"))
    ids = np.asarray(Image.open(streets.raw_gtav / "labels" / f"{sample.name}.png"))
    assert np.array_equal(image[..., ::-1], raw)
    assert set(np.unique(label[ids == 7])) == {0} and set(np.unique(label[ids == 23])) == {10}
    with pytest.raises(IndexError):
        shards.read(10)


def test_counts_are_those_of_the_labels(streets):
    shards = Shards(streets.camera)
    labels = np.stack([decode(shards.read(i))[1] for i in range(len(shards))])
    assert shards.manifest.class_pixels == np.bincount(labels.ravel(), minlength=256)[:19].tolist()
    assert shards.manifest.sizes == {"64×128": 4}


def test_memory_does_not_grow_with_the_number_of_files(streets, tmp_path):
    """A file's footer is large where its samples are small; a process holds those of a few files."""
    sample = Shards(streets.game).read(0)
    row = vars(sample) | {"dataset": "game", "split": "all", "class_pixels": [0] * 19}
    entry = write_file(str(tmp_path), "part-0.parquet", [row] * 256)
    files = [entry | {"file": f"part-{i}.parquet"} for i in range(100)]
    for other in files[1:]:
        (tmp_path / other["file"]).hardlink_to(tmp_path / entry["file"])
    manifest = replace(read_manifest(streets.game), files=files, samples=256 * len(files))
    write_manifest(str(tmp_path), manifest)
    shards, grown = Shards(str(tmp_path)), []
    for file in range(len(files)):
        assert shards.read(256 * file).name == sample.name
        grown.append(resident())
    assert grown[-1] - grown[20] < 20


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_killed_ingest_is_not_taken_for_whole(copy):
    (copy / MANIFEST).unlink()
    with pytest.raises(ValueError, match="its manifest is gone: run the same ingest again"):
        Shards(str(copy))


def test_a_cut_file_is_refused(copy):
    file = next(copy.glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"{file.name} has .* bytes instead of"):
        Shards(str(copy))
    file.unlink()
    with pytest.raises(ValueError, match=f"{file.name} is missing"):
        Shards(str(copy))


def test_a_damaged_file_is_named_when_it_is_read(copy):
    file = next(copy.glob("*.parquet"))
    lose_footer(file)
    with pytest.raises(Damaged, match=rf"{file.name} can't be read at sample 0 .*inspect --verify"):
        Shards(str(copy)).read(0)
    with pytest.raises(Damaged, match=rf"{file.name} can't be read .*inspect --verify"):
        Shards(str(copy)).class_pixels()


def lose_footer(file: Path) -> None:
    """What Parquet reads first; the file keeps its size."""
    data = bytearray(file.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little")
    data[-8 - footer : -8] = bytes(footer)
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9]), lose_footer])
def test_the_other_files_are_read_if_damage_is_skipped(streets, in_files, damage):
    """A damaged one is named, and as its samples have no class counts, none is drawn by class."""
    damage(in_files / "part-0.parquet")
    shards, whole = Shards(str(in_files), skip_damaged=True), Shards(streets.game)
    counts, expected = shards.class_pixels(), whole.class_pixels()
    assert not counts[:5].any() and expected[:5].any() and np.array_equal(counts[5:], expected[5:])
    assert list(shards.lost) == ["part-0.parquet"] and f"{in_files}: part-0.parquet " in shards.lost["part-0.parquet"]
    with pytest.raises(Damaged, match=r"part-0\.parquet"):
        shards.read(4)
    assert len(shards) == 10 and shards.read(5) == whole.read(5)
    damage(in_files / "part-1.parquet")
    open_file.cache_clear()
    with pytest.raises(Damaged, match=r"none of its files can be read; the last: part-1\.parquet"):
        Shards(str(in_files), skip_damaged=True).class_pixels()


@pytest.mark.parametrize(
    ("before", "after"), [(b"class_pixels", b"class_pixelz"), (b"image", b"imagf"), (b"00001", b"\xff\xff\xff\xff\xff")]
)
def test_what_parquet_does_not_notice_is_damage_too(copy, before, after):
    """Columns of other names, names that are no text."""
    file = next(copy.glob("*.parquet"))
    data = file.read_bytes()
    assert before in data
    file.write_bytes(data.replace(before, after))
    with pytest.raises(Damaged, match=rf"{file.name} can't be read"):
        Shards(str(copy)).class_pixels()
        Shards(str(copy)).read(0)


WRONG = [(41, 301), (40, 301), (40, 600), (41, 300)]


@pytest.mark.parametrize("codec", ["original", "zstd", "jpeg95"])
def test_a_damaged_sample_is_named_when_it_is_decoded(codec):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    image = encode_image(cv2.imencode(".png", pixels)[1].tobytes(), pixels, codec)
    label = encode_label(pixels[..., 0])
    for bad in (Sample("a/b", image[:60], label, 40, 300), *(Sample("a/b", image, label, *size) for size in WRONG)):
        with pytest.raises(ValueError, match="sample a/b: its image is damaged.*ingest the data set again"):
            bad.pixels()
    with pytest.raises(ValueError, match="sample a/b: its label is damaged"):
        Sample("a/b", image, label[:-9], 40, 300).label_ids()


@pytest.mark.parametrize("column", ["image", "label"])
@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_is_noticed_when_it_is_read(copy, column, seed):
    """A JPEG or a label decodes with most of them, to other pixels."""
    sample, rng = Shards(str(copy)).read(3), np.random.default_rng(seed)
    stored = bytearray(getattr(sample, column))
    stored[rng.integers(len(stored))] ^= int(rng.integers(1, 256))
    (file,) = (file for file in copy.glob("*.parquet") if getattr(sample, column) in file.read_bytes())
    file.write_bytes(file.read_bytes().replace(getattr(sample, column), bytes(stored)))
    open_file.cache_clear()
    with pytest.raises(Damaged, match=rf"^sample {sample.name}: .*{file.name} can't be read at sample 3 .*CRC"):
        Shards(str(copy)).read(3)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_byte_is_found_in_every_file(copy, seed):
    assert find_damage(str(copy)) == []
    rng = np.random.default_rng(seed)
    for file in sorted(copy.iterdir()):
        whole = file.read_bytes()
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        file.write_bytes(data)
        assert file.name in damage(str(copy))
        file.write_bytes(whole)


def test_a_file_that_cannot_be_read_hides_no_other(in_files):
    (in_files / "part-0.parquet").unlink()
    (in_files / "part-0.parquet").mkdir()
    data = (in_files / "part-1.parquet").read_bytes()
    (in_files / "part-1.parquet").write_bytes(data[:-1])
    unread, changed = find_damage(str(in_files))
    assert unread.startswith("part-0.parquet (") and "directory" in unread and changed == "part-1.parquet"


def damage(uri: str) -> str:
    """Names of the damaged files. Of a damaged manifest an error tells, as what it lists can't be relied on."""
    try:
        return " ".join(find_damage(uri))
    except ValueError as error:
        assert MANIFEST in str(error) or "format" in str(error)
        return MANIFEST


def test_no_byte_of_the_manifest_can_change(copy):
    whole = (copy / MANIFEST).read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        (copy / MANIFEST).write_bytes(data)
        assert damage(str(copy)) == MANIFEST, place


def test_shards_of_format_1_are_read_with_the_digest_they_had(streets, tmp_path):
    """Before Zstandard frames labels were PNGs, and the manifest had no digest of its own and named no codecs."""
    samples = [Shards(streets.game).read(i) for i in range(3)]
    counts = [0] * 19
    rows = [
        vars(sample)
        | {"label": cv2.imencode(".png", decode(sample)[1])[1].tobytes(), "class_pixels": counts}
        | {"dataset": "game", "split": "all"}
        for sample in samples
    ]
    entry = write_file(str(tmp_path), "part-00000.parquet", rows)
    values = {"dataset": "game", "layout": "gtav", "split": "all", "label_space": "cityscapes", "files": [entry]}
    values |= {"samples": 3, "class_pixels": counts, "sizes": {"64×128": 3}, "quarantined": [], "version": 1}
    (tmp_path / MANIFEST).write_text(json.dumps(values, indent=1))
    old = Shards(str(tmp_path))
    assert old.manifest.digest == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    assert (old.manifest.image_codec, old.manifest.label_codec) == ("original", "png")
    for i, sample in enumerate(samples):
        assert all(np.array_equal(*pair) for pair in zip(decode(sample), decode(old.read(i)), strict=True))
    assert find_damage(str(tmp_path)) == []


def test_another_format_is_refused(copy):
    values = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(values | {"version": 99}))
    with pytest.raises(ValueError, match="format 99"):
        read_manifest(str(copy))


def test_a_raw_folder_says_how_to_ingest_it(streets):
    with pytest.raises(ValueError, match="ingest gtav"):
        read_manifest(str(streets.raw_gtav))
    with pytest.raises(ValueError, match="no such folder"):
        read_manifest("/nowhere/at/all")
