"""Your own folder: what rein.yaml can say, and that every mistake in it is named."""

import textwrap
from pathlib import Path

import pytest

from datasets.guess import describe
from datasets.layouts import Layout, Pair, folder, get_layout, recognise

YAML = """
name: campus
splits: {train: {images: photos\\*\\*.jpg, labels: masks/*/*_mask.png}}
ids: {0: road, 1: bicycle, 2: void, 9: 5}
"""


def write(root: Path, text: str) -> None:
    (root / "rein.yaml").write_text(text)


def find(root: Path) -> tuple[Layout, str, list[Pair]]:
    return get_layout("folder").find(str(root))


@pytest.fixture
def campus(tmp_path, raw_files) -> Path:
    for name in ("1", "2"):
        raw_files.image(tmp_path / f"photos/day/{name}.jpg")
        raw_files.label([0, 1, 2, 9], tmp_path / f"masks/day/{name}_mask.png")
    write(tmp_path, YAML)
    return tmp_path


def test_pairs_and_ids(campus, raw_files):
    layout, split, pairs = find(campus)
    assert split == "train" and layout.domain(split) == "campus" and recognise(str(campus)) == "folder"
    assert [pair.name for pair in pairs] == ["day/1", "day/2"]
    assert raw_files.converted(layout, pairs[0]) == [0, 18, 255, 5] * 6
    raw_files.label([0, 3], Path(pairs[0].label))
    assert "wrong label ids 3" in raw_files.reason(layout, pairs[0])
    Path(pairs[1].label).unlink()
    assert raw_files.reason(layout, pairs[1]).startswith("no label: ")


def test_any_depth_and_several_endings(campus, raw_files):
    raw_files.image(campus / "photos/night/late/3.png")
    raw_files.label([9], campus / "masks/night/late/3_mask.png")
    globs = "{images: [photos/**/*.jpg, photos/**/*.png], labels: masks/**/*_mask.png}"
    write(campus, f"splits: {{train: {globs}}}\nids: {{9: pole}}\nother_ids: void")
    layout, split, pairs = find(campus)
    assert [pair.name for pair in pairs] == ["day/1", "day/2", "night/late/3"]
    assert [raw_files.converted(layout, pair)[3] for pair in pairs] == [5, 5, 5] and layout.domain(split) == campus.name
    assert raw_files.converted(layout, pairs[0])[:3] == [255, 255, 255]


def test_two_images_of_one_label_are_named(campus, raw_files):
    globs = "{images: [photos/*/*.jpg, photos/*/*.png], labels: masks/*/*_mask.png}"
    write(campus, f"splits: {{train: {globs}}}\nother_ids: void")
    assert [pair.name for pair in find(campus)[2]] == ["day/1", "day/2"]
    raw_files.image(campus / "photos/day/1.png")
    both = f"{campus}/photos/day/1.jpg and {campus}/photos/day/1.png stand for one sample, so its label .* either"
    with pytest.raises(ValueError, match=f"{both}: move one of them .* globs that match only one, in a rein.yaml"):
        find(campus)
    assert describe(str(campus)).startswith("it looks like raw folder data: python -m pipelines ingest folder ")
    raw_files.image(campus / "photos/day/2.png")
    with pytest.raises(ValueError, match=r"either \(and 1 more such cases\): move"):
        find(campus)
    write(campus, f"splits: {{train: {globs.replace('photos/*/*.png', 'photos/*/*.jpg')}}}\nother_ids: void")
    assert [Path(pair.image).name for pair in find(campus)[2]] == ["1.jpg", "2.jpg"]


def test_other_classes_and_encodings(campus, raw_files):
    raw_files.label([6, 255], campus / "masks/day/1_mask.png", "16-bit channels")
    splits = "{train: {images: photos/*/*.jpg, labels: masks/*/*_mask.png}}"
    write(campus, f"splits: {splits}\nclasses: idd_lite\nencoding: first_channel")
    layout, _, pairs = find(campus)
    assert raw_files.converted(layout, pairs[0])[:2] == [6, 255] and layout.label_space.name == "idd_lite"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("splits: {a: {images: x/*.jpg, label: y/*.png}}", "no key splits.a.label: did you mean labels .a glob"),
        ("split: {}", "no key split: did you mean splits"),
        ("weather: 3", "no key weather: known: splits, name, classes"),
        ("name: 3", "name can't be 3: it is the domain's name"),
        ("name: a", "splits is missing: splits by name"),
        ("splits: {a: {images: x/*.jpg}}", "splits.a.labels is missing: a glob below"),
        ("splits: [a]", "splits can't be"),
        ("- 1", "must hold the keys"),
        ("a: [", "not YAML"),
        ("splits: {a: {images: /x/*.jpg, labels: y/*.png}}", "/x/.* must lie below the folder"),
        ("splits: {a: {images: x/*.jpg, labels: y/**/*.png}}", "need the same wildcards"),
        ("splits: {a: {images: 'x/[0-9].jpg', labels: y/*.png}}", r"only \* and \*\*/ are known"),
        ("classes: ade20k\nsplits: {a: 1}", "classes can't be 'ade20k': it is cityscapes or idd_lite"),
        ("ids: {0: raod}\nsplits: {a: 1}", "ids.0 can't be 'raod'.*did you mean road"),
        ("ids: {x: road}\nsplits: {a: 1}", "'x' is no raw id"),
        ("ids: {0: yes}\nsplits: {a: 1}", "ids.0 can't be True"),
        ("splits: {a: 1}\nids: {0: road, 0: car}", "rein.yaml: line 2 names 0 a second time: keep one"),
        ("splits: {a: 1}\nids:\n  16: road\n  2: car\n  0x10: sky", "line 5 names 16 a second time"),
        ("splits: {a: {images: x/*.jpg, labels: y/*.png}, a: 1}", "line 1 names a a second time"),
        ("ids: {? [0] : road}\nsplits: {a: 1}", "not YAML: .*unhashable key"),
        ("ids: trian_ids\nsplits: {a: 1}", "ids can't be 'trian_ids'"),
    ],
)
def test_mistakes_are_named(tmp_path, text, words):
    write(tmp_path, text)
    with pytest.raises(ValueError, match=words):
        find(tmp_path)


def test_what_is_merged_in_may_be_named_again(campus):
    write(campus, YAML.replace("ids: {", "ids: {<<: {0: sky, 8: pole}, "))
    assert find(campus)[0].id_to_train == {0: 0, 1: 18, 2: 255, 8: 5, 9: 5}


def test_the_file_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="no rein.yaml in .*layouts/folder.py shows one"):
        find(tmp_path)


def test_the_example_works(tmp_path, raw_files):
    raw_files.image(tmp_path / "photos/train/1.jpg")
    raw_files.label([0, 1, 9], tmp_path / "masks/train/1_mask.png")
    write(tmp_path, textwrap.dedent(folder.__doc__.partition("\n\n")[2]))
    layout, _, pairs = find(tmp_path)
    assert raw_files.converted(layout, pairs[0])[:3] == [0, 1, 255]
