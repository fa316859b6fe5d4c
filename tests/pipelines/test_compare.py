"""Models side by side: what is told, and what can't be, of domains with and without labelled pixels."""

import argparse
import json
from contextlib import nullcontext

import numpy as np
import pytest

from datasets.labels import CITYSCAPES
from pipelines import __main__, evaluation, promote
from pipelines.compare import comparison, table
from pipelines.html import comparison_page
from pipelines.scoring import meter_of
from pipelines.terminal import to_json


def samples(hits: int, domains: tuple[str, ...] = ("labelled", "bare"), count: int = 10, **changes: str) -> dict:
    """Scores of a model that is right in so many of a hundred pixels of each image; "bare" has no label at all."""
    found = {}
    for domain in domains:
        confusion = np.zeros((19, 19), np.int64)
        if domain != "bare":
            confusion[0, :2] = hits, 100 - hits
        scores = evaluation.summarize(meter_of(count * confusion), CITYSCAPES)
        found[domain] = (
            scores | {"resolution": "as stored", "samples": count, "digest": "a"} | changes,
            dict.fromkeys(range(count), confusion),
        )
    return found


def test_a_domain_without_labels_is_told_nothing_of():
    found = comparison(["a", "b"], [samples(60), samples(70)])
    assert found["domains"]["bare"]["mIoU"] == [None, None] and found["domains"]["bare"]["difference"] == [None, None]
    assert found["domains"]["labelled"]["difference"][1] == {"difference": 10, "low": 10, "high": 10}
    assert found["mean"] == {"mIoU": [None, None], "difference": [None, None]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "nan" not in table(found) and "+10.0" in table(found)
    body = comparison_page(found).split("<body>")[1]
    assert "nan" not in body.lower() and "+10.00" in body


def test_other_shards_of_the_same_names_are_refused():
    with pytest.raises(ValueError, match="on labelled b was scored on other shards than a: use the same shards"):
        comparison(["a", "b"], [samples(60), samples(70, digest="b")])


def test_other_sizes_are_compared_with_a_warning():
    """In the result, the table and the page; it names both."""
    domains, wide = ("labelled",), "short edge 64, <128×64>"
    found = comparison(
        ["a", "b", "c"], [samples(60, domains), samples(70, domains, resolution=wide), samples(6, domains)]
    )
    (warning,) = found["warnings"]
    assert warning.startswith(f"labelled: b was tested at {wide}, and a at as stored: their difference is also")
    assert f"warning: {warning}" in table(found)
    assert "labelled: b was tested at short edge 64, &lt;128×64&gt;, and a at as stored" in comparison_page(found)
    alike = comparison(["a", "b"], [samples(60), samples(70)])
    assert not alike["warnings"] and "warning" not in table(alike) and "Warning:" not in comparison_page(alike)


def test_a_single_sample_has_no_interval():
    found = comparison(["a", "b"], [samples(60, ("labelled",), 1), samples(70, ("labelled",), 1)])
    assert found["domains"]["labelled"] | {"IoU": {}} == {
        "mIoU": [60, 70], "difference": [None, None], "IoU": {}, "samples": 1, "resolution": "as stored"
    }  # fmt: skip
    assert found["mean"]["difference"] == [None, None] and "70.0 |" in table(found)


def test_a_page_of_numbers_that_are_none():
    """As an older comparison.json has them."""
    nan = float("nan")
    difference = dict.fromkeys(("difference", "low", "high"), nan)
    part = {"mIoU": [nan, nan], "difference": [None, difference], "IoU": {}, "resolution": "as stored", "samples": 3}
    values = {"models": ["a", "b"], "domains": {"bare": part}, "mean": part, "confidence": 0.95, "draws": 1000}
    body = comparison_page(values).split("<body>")[1]
    assert "nan" not in body.lower() and "<strong>" not in body


def test_json_of_a_command_has_no_bare_nan(monkeypatch, capsys):
    monkeypatch.setattr(__main__, "command", lambda argv: {"mIoU": float("nan"), "all": [1.5, float("inf")], "n": 2})
    assert __main__.main(["evaluate", "--json"]) == 0
    assert capsys.readouterr().out == '{"mIoU": null, "all": [1.5, null], "n": 2}\n'
    assert json.loads(to_json({"a": (1, 2)}, indent=2)) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("domains", "hits", "words"),
    [
        (("labelled", "bare"), 70, r"interval: bare has no labelled pixel: leave it out; champion stays version 1"),
        (("labelled",), 70, None),
        (("labelled",), 60, r"labelled \+0\.00 mIoU \(\+0\.00 to \+0\.00\); champion stays"),
    ],
)
def test_who_is_not_better_everywhere_is_not_promoted(monkeypatch, domains, hits, words):
    scored = {"models:/m/1": samples(60, domains), "models:/m/2": samples(hits, domains)}
    monkeypatch.setattr(promote, "contender", lambda model, *_: model)
    monkeypatch.setattr(promote, "score_model", lambda model, *_: scored[model])
    with pytest.raises(ValueError, match=words) if words else nullcontext():
        promote._compare(argparse.Namespace(name="m", champion="champion", shards=[]), "1", "2")


def test_nine_images_promote_nobody(monkeypatch):
    """They are as good for an interval as any, but it would be too narrow."""
    scored = {f"models:/m/{version}": samples(60 + version, ("labelled",), 9) for version in (1, 2)}
    monkeypatch.setattr(promote, "contender", lambda model, *_: model)
    monkeypatch.setattr(promote, "score_model", lambda model, *_: scored[model])
    with pytest.raises(ValueError, match="labelled has too few samples with a labelled pixel .*: give 10 or more"):
        promote._compare(argparse.Namespace(name="m", champion="champion", shards=[]), "1", "2")
