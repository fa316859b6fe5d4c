"""The folder of an ingest: nothing of others is removed, and no part of another ingest is taken for its own."""

import json
from dataclasses import asdict, replace

import pytest

from datasets.parts import PLAN, Plan, forget, prepare, read_note, read_notes, read_plan, write_note

PLANNED = Plan("game", "gtav", "all", "original", 4, "0123", (2, 4))
NOTE = {"entry": None, "quarantined": []}


@pytest.mark.parametrize("name", ["part-2.csv", "part-00000-5f3c.snappy.parquet", "manifest.json.old", "letter.txt"])
def test_nothing_that_no_ingest_wrote_is_removed(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"holds {name}, which no ingest wrote"):
        prepare(str(tmp_path), PLANNED, overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


def test_what_an_ingest_left_is_removed(tmp_path):
    for name in ("part-00000.parquet", "part-00001.json.0badcafe.partial", "manifest.json"):
        (tmp_path / name).touch()
    prepare(str(tmp_path), PLANNED, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == [PLAN]


def test_a_late_part_of_another_ingest_does_not_count(tmp_path):
    other = replace(PLANNED, dataset="another game")
    prepare(str(tmp_path), PLANNED, overwrite=False)
    write_note(str(tmp_path), 0, other, NOTE)
    write_note(str(tmp_path), 1, PLANNED, NOTE)
    assert read_note(str(tmp_path), 0, PLANNED) is None
    assert list(read_notes(str(tmp_path), PLANNED)) == [1]
    assert not read_notes(str(tmp_path), replace(PLANNED, changed=("", "yesterday"))), "its files have changed"
    forget(str(tmp_path), [0, 1])
    assert not read_notes(str(tmp_path), PLANNED)


@pytest.mark.parametrize("damage", ["{", "\x00\x00", "null", "[]", '{"dataset": "game"}', "another version"])
def test_a_plan_that_cant_be_read_is_named_and_overwritten(tmp_path, damage):
    prepare(str(tmp_path), PLANNED, overwrite=False)
    write_note(str(tmp_path), 0, PLANNED, NOTE)
    later = json.dumps(asdict(PLANNED) | {"colour": "red"})
    (tmp_path / PLAN).write_text(later if damage == "another version" else damage)
    with pytest.raises(ValueError, match=f"^{tmp_path}: {PLAN} is damaged, or of another version: .*--overwrite"):
        prepare(str(tmp_path), PLANNED, overwrite=False)
    prepare(str(tmp_path), PLANNED, overwrite=True)
    assert read_plan(str(tmp_path)) == PLANNED and not read_notes(str(tmp_path), PLANNED)


def test_a_damaged_note_is_none(tmp_path):
    prepare(str(tmp_path), PLANNED, overwrite=False)
    for part in range(2):
        write_note(str(tmp_path), part, PLANNED, NOTE)
    (tmp_path / "part-00000.json").write_bytes(b"\xff\x00")
    assert list(read_notes(str(tmp_path), PLANNED)) == [1]


def test_an_ingest_of_fewer_parts_takes_over(tmp_path):
    """Files that changed, and so their sizes, may be cut into parts otherwise: those that are the same are kept."""
    before = replace(PLANNED, ends=(2, 3, 4), changed=("a", "b", "c"))
    prepare(str(tmp_path), before, overwrite=False)
    for part in range(3):
        (tmp_path / f"part-{part:05d}.parquet").touch()
        write_note(str(tmp_path), part, before, NOTE)
    after = replace(PLANNED, changed=("a", "d"))
    prepare(str(tmp_path), after, overwrite=False)
    assert list(read_notes(str(tmp_path), after)) == [0]
    assert not list(tmp_path.glob("part-00002.*")) and read_plan(str(tmp_path)).ends == after.ends


def test_whole_shards_of_files_that_changed_are_not_gone_on_with(tmp_path):
    """They were killed while they were tidied up."""
    prepare(str(tmp_path), replace(PLANNED, changed=("a", "b")), overwrite=False)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds shards already"):
        prepare(str(tmp_path), replace(PLANNED, changed=("a", "c")), overwrite=False)
    assert (tmp_path / "manifest.json").exists()


def test_overwrite_makes_whole_shards_anew_that_were_not_tidied_up(tmp_path):
    """Their parts may be damaged, or their raw files others of the same size; a killed ingest goes on all the same."""
    (tmp_path / "part-00000.parquet").write_text("a part")
    prepare(str(tmp_path), PLANNED, overwrite=True)
    assert not (tmp_path / "part-00000.parquet").exists()
    (tmp_path / "part-00000.parquet").write_text("a part")
    prepare(str(tmp_path), PLANNED, overwrite=True)
    assert (tmp_path / "part-00000.parquet").exists()
    (tmp_path / "manifest.json").write_text("{}")
    prepare(str(tmp_path), PLANNED, overwrite=False)
    assert (tmp_path / "part-00000.parquet").exists()
    prepare(str(tmp_path), PLANNED, overwrite=True)
    assert not (tmp_path / "part-00000.parquet").exists() and not (tmp_path / "manifest.json").exists()
