"""A folder that is no shards is known by a data set's files, also where something has to be done to them first."""

import shlex

import pytest

from datasets.guess import describe
from datasets.layouts import recognise


@pytest.fixture
def idd_lite(tmp_path, raw_files):
    """As it is downloaded: the test split, which is the first by name, has no labels."""
    for split in ("train", "val", "test"):
        raw_files.image(tmp_path / f"leftImg8bit/{split}/0/1_image.jpg")
        if split != "test":
            raw_files.label([0, 6], tmp_path / f"gtFine/{split}/0/1_label.png", "grey")
    return tmp_path


def test_a_test_split_without_labels_hides_nothing(idd_lite):
    assert recognise(str(idd_lite)) == "idd_lite"
    assert f"python -m pipelines ingest idd_lite {idd_lite} OUT --split " in describe(str(idd_lite))


def test_labels_that_are_to_be_rendered(tmp_path, raw_files):
    """IDD is downloaded with polygons: ingest says how."""
    raw_files.image(tmp_path / "leftImg8bit/train/0/1_leftImg8bit.png")
    polygons = tmp_path / "gtFine/train/0/1_gtFine_polygons.json"
    polygons.parent.mkdir(parents=True)
    polygons.write_text("{}")
    assert describe(str(tmp_path)).startswith("it looks like raw idd data: python -m pipelines ingest idd ")


def test_the_command_for_a_name_with_a_space_can_be_pasted(tmp_path, raw_files):
    raw_files.image(tmp_path / "my set/images/1.png")
    raw_files.label([0, 6], tmp_path / "my set/labels/1.png", "grey")
    command = describe(str(tmp_path / "my set")).partition("data: ")[2]
    assert shlex.split(command)[5:7] == [str(tmp_path / "my set"), "OUT"]


def test_a_mistake_in_your_own_file_is_told(tmp_path):
    (tmp_path / "rein.yaml").write_text("split: {}")
    with pytest.raises(ValueError, match=r"rein\.yaml: no key split: did you mean splits"):
        describe(str(tmp_path))
