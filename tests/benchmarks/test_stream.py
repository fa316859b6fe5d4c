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
    for name in ("mmseg_batches", "loop_batches", "our_batches", "in_worker"):
        monkeypatch.setattr(stream, name, loaded)
    return folders


def test_another_number_of_pairs_is_other_data_for_every_loader(read, tmp_path):
    for pairs in ("3", "5", "3"):
        stream.main(["--pairs", pairs, "--work", str(tmp_path), "--rounds", "1"])
    own = [f"{codec}-{{}}" for codec in ("raw", "zstd", "jpeg95", "original", "zstd", "jpeg95", "zstd")]
    assert [uri.name for uri in read] == [name.format(pairs) for pairs in (3, 5, 3) for name in own]
    for uri in read:
        kind, pairs = uri.name.split("-")
        assert (uri / MANIFEST).read_text() == (pairs if kind == "raw" else str(tmp_path / f"raw-{pairs}"))
