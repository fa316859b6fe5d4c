"""Shards in an object store: written, read, inspected and overwritten in a real S3 server on loopback."""

import re
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from datasets.raw_folder import read_bytes
from datasets.shards import MANIFEST, Shards, decode, exists
from datasets.storage import filesystem, join, listing, write_json
from pipelines.settings import absolute


@pytest.fixture(scope="module")
def bucket(bucket_of) -> str:
    return bucket_of("streets")


def test_options_of_a_uri_stay_out_of_its_path(bucket):
    uri = bucket.format("a/b")
    assert absolute("s3://streets/a?region=us-east-1") == "s3://streets/a?region=us-east-1"
    assert join(uri, "c").split("?") == ["s3://streets/a/b/c", uri.split("?")[1]]
    assert filesystem(uri)[1] == "streets/a/b"


def test_the_same_shards_as_on_a_disk(streets, bucket, run_command):
    uri = bucket.format("shards/game")
    result = run_command("ingest", "gtav", streets.raw_gtav, uri, "--name", "game")
    assert result["samples"] == 10 and exists(uri)
    assert set(listing(uri)) - {""} == {MANIFEST, "part-00000.parquet"}
    fs, path = filesystem(uri)
    for file in Path(streets.game).iterdir():
        assert fs.open_input_stream(f"{path}/{file.name}").read() == file.read_bytes()
    image, label = decode(Shards(uri).read(7))
    assert image.shape == (64, 128, 3) and label.shape == (64, 128)
    assert run_command("inspect", uri, "--verify")["digest"] == Shards(streets.game).manifest.digest


def test_overwritten_and_refused(streets, bucket, run_command):
    uri = bucket.format("shards/twice")
    with pytest.raises(ValueError, match="nothing in it"):
        Shards(uri)
    run_command("ingest", "gtav", streets.raw_gtav, uri)
    with pytest.raises(ValueError, match="add --overwrite"):
        run_command("ingest", "gtav", streets.raw_gtav, uri)
    assert run_command("ingest", "gtav", streets.raw_gtav, uri, "--overwrite", "--limit", 3)["samples"] == 3


def test_shards_below_a_folder_of_a_bucket_are_named(bucket):
    fs, path = filesystem(bucket.format("below"))
    for name in ("one game", "another"):
        fs.create_dir(f"{path}/{name}")
        write_json(bucket.format("below/" + name.replace(" ", "%20")), MANIFEST, {})
    places = ", ".join(bucket.format(f"below/{name}") for name in ("another", "one%20game"))
    with pytest.raises(ValueError, match=re.escape(f"no {MANIFEST} there: the shards are in {places}")):
        Shards(bucket.format("below"))


@pytest.mark.parametrize("folder", ["raw", "raw%20streets%20%231"])
def test_raw_data_in_the_store(streets, bucket, run_command, tmp_path, folder):
    raw = bucket.format(folder)
    fs, path = filesystem(raw)
    for file in Path(streets.raw_gtav).rglob("*.png"):
        name = file.relative_to(streets.raw_gtav).as_posix()
        fs.create_dir(f"{path}/{name}".rpartition("/")[0])
        with fs.open_output_stream(f"{path}/{name}") as stream:
            stream.write(file.read_bytes())
    result = run_command("ingest", "gtav", raw, tmp_path / "out", "--name", "game")
    assert result["digest"] == Shards(streets.game).manifest.digest


def test_a_store_that_is_away_sets_no_sample_apart(bucket):
    with pytest.raises(ValueError, match="no image: s3://streets/gone"):
        read_bytes(bucket.format("gone/a.png"), "image")
    with pytest.raises(OSError, match="AWS Error"):
        read_bytes("s3://streets/a.png?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1", "image")


def test_a_store_that_is_away_is_no_damage(streets, run_command):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = f"127.0.0.1:{server.get_host_and_port()[1]}&scheme=http&region=us-east-1"
    uri = f"s3://away/game?endpoint_override={endpoint}&allow_bucket_creation=true"
    run_command("ingest", "gtav", streets.raw_gtav, uri, "--name", "game")
    shards = Shards(uri, skip_damaged=True)
    server.stop()
    with pytest.raises(OSError, match="part-00000.parquet can't be read at sample 3 .*: its store fails"):
        shards.read(3)
    with pytest.raises(OSError, match="its store fails"):
        shards.class_pixels()
    assert not shards.lost
