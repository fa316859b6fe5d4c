"""Which samples are tested, and what they are called."""

import argparse

import pytest

from pipelines.protocol import check_sizes, domain_names, domains_of, evenly_spread
from pipelines.recipe import parse_recipe


def test_names_of_domains_never_collide():
    def shards(dataset, split, uri):
        return argparse.Namespace(manifest=argparse.Namespace(dataset=dataset, split=split), uri=uri)

    apart = [shards("a", "val", "/1"), shards("b", "val", "/2")]
    assert domain_names(apart) == ["a", "b"]
    assert domain_names([*apart, shards("a", "train", "/3")]) == ["a/val", "b", "a/train"]
    assert domain_names([*apart, shards("a", "val", "/data/3/")]) == ["a/val/1", "b", "a/val/3"]
    stored = [shards("a", "val", f"s3://bucket/{place}?endpoint_override=host:1") for place in ("x/f", "y/g/", "z/g")]
    assert domain_names(stored) == ["a/val/f", "a/val/g", "a/val/g-2"]
    odd = [shards("Straße (nachts)", "val,1", f"/{place}") for place in ("a=b", "ä+c", "")]
    assert domain_names(odd) == [f"Straße _nachts_/val_1/{place}" for place in ("a_b", "ä_c", "shards")]


@pytest.mark.parametrize(
    "uris", [("/data/x", "/more/x"), ("s3://b/y?region=a", "/data//y/"), ("/a/(1)", "/a/[1]"), ("..", ".")]
)
def test_mlflow_takes_every_name(uris):
    from mlflow.utils.validation import _validate_metric_name

    sources = [argparse.Namespace(manifest=argparse.Namespace(dataset="a", split="val"), uri=uri) for uri in uris]
    names = domain_names(sources)
    assert len(set(names)) == 2
    for name in names:
        _validate_metric_name(f"val/{name}/IoU/traffic light")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([], [64, 96]), (["48"], [48, 48]), (["camera=32"], [64, 32]), (["48", "camera=32"], [48, 32])],
)
def test_the_recipes_short_edges_give_way_to_those_asked_for(streets, wanted, expected):
    recipe = parse_recipe({"test": {"short_edge": 64, "short_edge_of": {"camera": 96, "elsewhere": 720}}})
    domains = domains_of(argparse.Namespace(short_edge=wanted, limit=None), [streets.game, streets.camera], recipe)
    assert [(domain.name, domain.short_edge) for domain in domains] == list(
        zip(("game", "camera"), expected, strict=True)
    )


@pytest.mark.parametrize("argv", [("evaluate", "m", "s"), ("compare", "a", "b", "--on", "s"), ("promote", "m", "s")])
def test_numbers_that_cant_be_are_named_before_anything_is_loaded(run_command, tmp_path, argv):
    options = [("--limit", 0), ("--limit", -1)] + [("--pictures", -1)] * (argv[0] == "evaluate")
    for option, number in options:
        with pytest.raises(ValueError, match=f"^{option} {number}: give a whole number from "):
            run_command(*argv, option, number, "--storage", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_in_the_uri_of_shards_is_refused(streets):
    wanted = argparse.Namespace(short_edge=[], limit=None)
    with pytest.raises(ValueError, match="^s3://…@bucket: a key in a URI would be in logs") as error:
        domains_of(wanted, [streets.game, "s3://KEY:hunter2/RET@bucket/streets"], parse_recipe({}))
    assert "hunter2" not in str(error.value)


def test_images_are_not_made_larger_than_can_be_predicted(streets):
    def domains(*short_edge: str) -> list:
        args = argparse.Namespace(short_edge=short_edge, limit=1)
        return domains_of(args, [streets.game, streets.camera], parse_recipe({"test": {"short_edge": 64}}))

    check_sizes(domains(), (1.0,))
    check_sizes(domains("7000"), (0.5, 1.0))
    with pytest.raises(
        ValueError, match="--short-edge 99999, --scales 1: camera's 128 x 64 then are 199998 x 99999 pix"
    ):
        check_sizes(domains("camera=99999"), (1.0,))
    with pytest.raises(
        ValueError, match="--short-edge 7000, --scales 1.5: game's 128 x 64 then are 21000 x 10500 pixels"
    ):
        check_sizes(domains("7000"), (1.0, 1.5))


def test_what_was_stored_larger_is_tested_as_it_is():
    shards = argparse.Namespace(manifest=argparse.Namespace(sizes={"20000×20000": 1}))
    check_sizes([argparse.Namespace(name="a", shards=shards, short_edge=None)], (1.0,))


@pytest.mark.parametrize(
    ("total", "wanted", "expected"), [(5, None, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (2, 9, [0, 1])]
)
def test_samples_are_spread_evenly(total, wanted, expected):
    assert evenly_spread(total, wanted) == expected
