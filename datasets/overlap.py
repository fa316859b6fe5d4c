"""Samples that two shard folders have in common: what is held out should not be trained on."""

from collections.abc import Iterator

from pyarrow.parquet import FileMetaData, RowGroupMetaData

from datasets.shards import Shards


def shared(one: Shards, other: Shards) -> int:
    """How many samples of the first folder the second has, too, whatever codec their images have in either.

    Read from the files' footers, and so quickly: a sample is known by its name, the bytes of its label and the pixels
    of its most frequent class.

    Raises:
        Damaged: a file can't be read.
    """
    if one.manifest.layout != other.manifest.layout:
        return 0
    known = set(_marks(other))
    return sum(mark in known for mark in _marks(one))


def _marks(shards: Shards) -> Iterator[tuple]:
    for footer in shards.footers():
        places = _places(footer)
        for group in range(footer.num_row_groups):
            yield _mark(footer.row_group(group), places)


def _places(footer: FileMetaData) -> dict[str, int]:
    paths = (footer.schema.column(place).path for place in range(footer.num_columns))
    return {path.partition(".")[0]: place for place, path in enumerate(paths)}


def _mark(row: RowGroupMetaData, places: dict[str, int]) -> tuple[str | None, int, int | None]:
    name, label, pixels = (row.column(places[column]) for column in ("name", "label", "class_pixels"))
    name, most = (column.statistics and column.statistics.max for column in (name, pixels))
    return name, label.total_uncompressed_size, most
