"""How pairs are cut into files: about 128 MiB each, never more than 256 samples, and small data sets into 16."""

from itertools import pairwise

import pytest

from pipelines.ingest_plan import _ends

MIB = 1 << 20


@pytest.mark.parametrize(
    ("sizes", "samples"),
    [
        ([2.0 * MIB] * 5000, 64),
        ([0.1 * MIB] * 5000, 256),
        ([0.1 * MIB] * 512, 32),
        ([0.1 * MIB] * 48, 16),
        ([0.0] * 7, 7),
        ([300.0 * MIB] * 3, 1),
    ],
)
def test_files_are_of_one_size_and_hold_every_pair(sizes, samples):
    ends = _ends(sizes)
    counts = [end - start for start, end in pairwise((0, *ends))]
    assert ends[-1] == sum(counts) == len(sizes)
    assert set(counts[:-1]) <= {samples} and 0 < counts[-1] <= samples


def test_a_file_ends_with_the_sample_that_fills_it():
    ends = _ends([100.0 * MIB, 20 * MIB, 8 * MIB, 127 * MIB, 1 * MIB, 5 * MIB])
    assert ends == (3, 5, 6)
