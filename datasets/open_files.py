"""Parquet files of shards that stay open, for all threads of a process."""

from threading import Condition

import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache, cached

from datasets.storage import filesystem

_OPEN = 5400  # samples of all open files: 10 kB of footer each


class OpenFile:
    """A file that threads may read at once, of which no more than the footer is kept.

    Args:
        source: its bytes; closed when nothing reads them any more.
        remote: a read costs a round trip: those of a sample's columns are made one.

    Attributes:
        plain: reads column by column: for what lies far apart.
    """

    def __init__(self, source: pa.NativeFile, remote: bool):
        self._source, self._remote = source, remote
        self.plain = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)

    @property
    def footer(self) -> pq.FileMetaData:
        """A row group a sample."""
        return self.plain.metadata

    def reader(self) -> pq.ParquetFile:
        """For one sample. A reader that makes reads one keeps their bytes until its next, and replaces them without
        a lock (`ParquetFileReader::PreBuffer`): threads that share one crash, hang, or find damage that isn't there."""
        if not self._remote:
            return self.plain
        return pq.ParquetFile(self._source, metadata=self.footer, pre_buffer=True, page_checksum_verification=True)


@cached(LRUCache(_OPEN, getsizeof=lambda file: file.footer.num_row_groups), condition=Condition(), info=True)
def open_file(uri: str, file: str, _digest: str) -> OpenFile:
    """A file of a shard folder; where threads want the same one, one of them opens it.

    Raises:
        OSError, pyarrow.ArrowException: it isn't there, or is no Parquet.
    """
    fs, path = filesystem(uri)
    return OpenFile(fs.open_input_file(f"{path}/{file}"), remote="://" in uri)
