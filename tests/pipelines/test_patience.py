"""A store that refuses: a real full disk, files that appear whole or not at all."""

import gc
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from pipelines.patience import Patient


def patient(seconds: float) -> pafs.PyFileSystem:
    return pafs.PyFileSystem(Patient(pafs.LocalFileSystem(), seconds))


def write(files: pafs.FileSystem, path: Path, content: bytes) -> None:
    with files.open_output_stream(str(path)) as stream:
        stream.write(content)


def test_it_is_the_file_system_below(tmp_path):
    files = pickle.loads(pickle.dumps(patient(5)))
    assert files == patient(5) != patient(6)
    files.create_dir(str(tmp_path / "a/b"))
    write(files, tmp_path / "a/b/file", b"some content")
    assert [file.name for file in (tmp_path / "a/b").iterdir()] == ["file"]
    pafs.copy_files(str(tmp_path / "a"), str(tmp_path / "copy"), destination_filesystem=files)
    assert (tmp_path / "copy/b/file").read_bytes() == b"some content"
    files.move(str(tmp_path / "copy/b/file"), str(tmp_path / "moved"))
    assert files.open_input_stream(str(tmp_path / "moved")).read() == b"some content"
    files.delete_dir(str(tmp_path / "copy"))
    infos = files.get_file_info(pafs.FileSelector(str(tmp_path)))
    assert sorted(info.base_name for info in infos) == ["a", "moved"]


def test_what_nobody_closes_is_not_written(tmp_path):
    write(patient(5), tmp_path / "file", b"old content")
    stream = patient(5).open_output_stream(str(tmp_path / "file"))
    stream.write(b"ne")
    del stream
    gc.collect()
    assert (tmp_path / "file").read_bytes() == b"old content"


def test_what_is_missing_is_missing_at_once(tmp_path):
    started = time.monotonic()
    with pytest.raises(FileNotFoundError):
        patient(60).open_input_stream(str(tmp_path / "nowhere"))
    assert time.monotonic() - started < 1


def test_a_full_disk_is_waited_for(small_disk, fill, capfd):
    disk = small_disk(4)
    shutil.copy(__file__, disk / "checkpoint")
    filler = fill(disk)
    threading.Timer(2.5, os.remove, [filler]).start()
    write(patient(30), disk / "checkpoint", bytes(1 << 20))
    assert (disk / "checkpoint").read_bytes() == bytes(1 << 20)
    told = capfd.readouterr().err
    assert told.count("No space left on device): trying again") == told.count("the store answers again") == 1


def test_a_disk_that_stays_full_is_named_and_keeps_what_it_has(small_disk, fill):
    disk = small_disk(4)
    shutil.copy(__file__, disk / "checkpoint")
    fill(disk)
    with pytest.raises(OSError, match=r"disk/checkpoint could not be written .* 2 s \(.*No space left.*free space"):
        write(patient(2), disk / "checkpoint", bytes(1 << 20))
    assert (disk / "checkpoint").read_bytes() == Path(__file__).read_bytes()
