"""MODEL on the command line: a checkpoint folder with all that it brings along."""

from collections.abc import Iterator

import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer

from datasets import storage
from pipelines import models
from rein_core.checkpoint import VFM


@pytest.fixture
def bucket() -> Iterator[str]:
    """A URI with `{}` for the path in its bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    options = f"endpoint_override=127.0.0.1:{server.get_host_and_port()[1]}&scheme=http&region=us-east-1"
    yield f"s3://models/{{}}?{options}&allow_bucket_creation=true"
    server.stop()


@pytest.mark.parametrize("brings", [True, False])
def test_a_vfm_that_a_checkpoint_brings_along_comes_from_the_store_too(bucket, small_checkpoint, tmp_path, brings):
    folder = small_checkpoint(tmp_path / "checkpoint", 0)
    if brings:
        (folder / VFM).write_bytes(b"weights")
    uri = bucket.format(f"checkpoint-{brings}")
    files, path = storage.filesystem(uri)
    files.create_dir(path)
    pafs.copy_files(str(folder), path, destination_filesystem=files, use_threads=False)
    copy = models.resolve(uri)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == {
        file.name: file.read_bytes() for file in folder.iterdir()
    }
