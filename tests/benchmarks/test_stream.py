"""The measurement of the training stream: each loader gets the pairs that were asked for."""

from pathlib import Path

import pytest

from benchmarks import stream
from datasets.shards import MANIFEST


@pytest.fixture
def read(monkeypatch) -> list[Path]:
    """Folders that loaders read, in turn; nothing is drawn, ingested or timed, a file tells from what it would be."""
    folders = []

    def prepared(command: str, *argv: str) -> None:
        made, source = (argv[0], argv[argv.index("--count") + 1]) if command == "scenes" else (argv[2], argv[1])
        Path(made).mkdir(parents=True)
        (Path(made) / MANIFEST).write_text(source)

    def loaded(uri: Path, *steps: int) -> dict[str, float]:
        assert (uri / MANIFEST).is_file()
        folders.append(uri)
        return {"images_per_cpu_second": 1.0}

    def in_this_process(module: str, *options: str) -> dict[str, float]:
        stream.main(list(options))
        return {"images_per_cpu_second": 1.0}

    monkeypatch.setattr(stream.common, "prepare", prepared)
    monkeypatch.setattr(stream.common, "in_a_process", in_this_process)
    monkeypatch.setattr(stream, "timed", lambda batches, *others: batches)
    monkeypatch.setattr(stream, "start_ray", dict)
    for name in ("mmseg_batches", "loop_batches", "our_batches", "in_worker"):
        monkeypatch.setattr(stream, name, loaded)
    return folders


def test_another_number_of_pairs_is_other_data_for_every_loader(read, tmp_path):
    for pairs in ("3", "5", "3"):
        stream.main(["--pairs", pairs, "--work", str(tmp_path), "--rounds", "1"])
    own = [f"{codec}-{{}}" for codec in ("raw", "zstd", "jpeg95", "original", "zstd", "jpeg95", "zstd", "jpeg95")]
    assert [uri.name for uri in read] == [name.format(pairs) for pairs in (3, 5, 3) for name in own]
    for uri in read:
        kind, pairs = uri.name.split("-")
        assert (uri / MANIFEST).read_text() == (pairs if kind == "raw" else str(tmp_path / f"raw-{pairs}"))


def test_ratios_are_of_the_loaders_that_ran():
    rates = {"mmseg": 10, "ours zstd": 45, "ours jpeg95": 60, "loop jpeg95": 66, "worker jpeg95": 55}
    found = stream.ratios({name: {"images_per_cpu_second": rate} for name, rate in rates.items()})
    assert found == {"ratio": {"lossless": 4.5, "jpeg95": 6.0}, "loop_over_ray": {"jpeg95": 1.1, "worker jpeg95": 1.2}}


def test_pairs_that_are_not_drawn_are_links_to_those_that_are(tmp_path, monkeypatch):
    drawn, ingested = [], []

    def prepared(command: str, *argv: str) -> None:
        if command == "ingest":
            ingested.append(argv[1:3])
            return
        drawn.append(argv[argv.index("--count") + 1])
        for part in ("images", "labels"):
            (Path(argv[0]) / part).mkdir(parents=True)
            for name in ("00001.png", "00002.png"):
                (Path(argv[0]) / part / name).write_text(part + name)

    monkeypatch.setattr(stream.common, "prepare", prepared)
    stream.prepare(tmp_path, 5, drawn=2)
    raw = tmp_path / "raw-5-of-2"
    assert drawn == ["2"] and ingested[1] == (str(raw), str(tmp_path / "zstd-5-of-2"))
    assert sorted(file.name for file in (raw / "labels").iterdir()) == [f"0000{i}.png" for i in range(1, 6)]
    assert [(raw / "images" / f"0000{i}.png").read_text() for i in (1, 2, 5)] == [
        "images00001.png",
        "images00002.png",
        "images00001.png",
    ]
    stream.prepare(tmp_path, 5, drawn=2)
    assert drawn == ["2"]
