"""Which samples are tested, and what they are called."""

import argparse

import pytest

from pipelines.protocol import domain_names, evenly_spread


def test_names_of_domains_never_collide():
    def shards(dataset, split, uri):
        return argparse.Namespace(manifest=argparse.Namespace(dataset=dataset, split=split), uri=uri)

    apart = [shards("a", "val", "/1"), shards("b", "val", "/2")]
    assert domain_names(apart) == ["a", "b"]
    assert domain_names([*apart, shards("a", "train", "/3")]) == ["a/val", "b", "a/train"]
    assert domain_names([*apart, shards("a", "val", "/3/")]) == ["/1", "b", "/3"]


@pytest.mark.parametrize(
    ("total", "wanted", "expected"), [(5, None, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (2, 9, [0, 1])]
)
def test_samples_are_spread_evenly(total, wanted, expected):
    assert evenly_spread(total, wanted) == expected
