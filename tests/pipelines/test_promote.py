"""The registry's flow on a real store: a challenger that is better rises, one that is not is refused with figures."""

import argparse
import json

import pytest
import torch
from mlflow import MlflowClient

from pipelines import promote
from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Gives a checkpoint whose linear head names every pixel this class."""

    def make(train_id: int):
        recipe = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64"])
        segmentor = build_segmentor(recipe.model_section())
        torch.nn.init.zeros_(segmentor.decode_head.conv_seg.weight)
        torch.nn.init.zeros_(segmentor.decode_head.conv_seg.bias)
        segmentor.decode_head.conv_seg.bias.data[train_id] = 9
        folder = tmp_path_factory.mktemp("model") / "checkpoint"
        provenance = {"commit": "abc", "seed": 3, "shards": {"here": "d1"}}
        save_checkpoint(folder, segmentor, recipe.model_dump(mode="json"), provenance)
        return folder

    return make


def test_only_a_better_one_rises(checkpoint, streets, run_command, tmp_path, capsys):
    """Road fills more of a street than traffic lights: 0 beats 6, and 6 does not beat 0."""

    def register(train_id: int) -> dict:
        return run_command("register", checkpoint(train_id), "streets", "--alias", "challenger", "--storage", tmp_path)

    def raise_challenger() -> dict:
        return run_command("promote", "streets", streets.game, "--storage", tmp_path)

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    register(6)
    with pytest.raises((ValueError, OSError), match="no/such/shards"):
        run_command("promote", "streets", "no/such/shards", "--storage", tmp_path)
    assert "champion" not in client.get_registered_model("streets").aliases
    assert raise_challenger() == {"name": "streets", "version": 1, "before": None, "comparison": {}}
    assert "is version 1 now, no champion before: it was not compared" in capsys.readouterr().err
    lineage = register(0)["lineage"]
    assert lineage["commit"] == "abc" and lineage["shards"] == {"here": "d1"}
    assert client.get_model_version("streets", "2").tags["shards"] == json.dumps(lineage["shards"])
    promoted = raise_challenger()
    assert promoted["before"] == 1 and client.get_model_version_by_alias("streets", "champion").version == 2
    assert promoted["comparison"]["domains"]["game"]["difference"][1]["low"] > 0
    register(6)
    with pytest.raises(ValueError, match=r"version 3 is not better than version 2 .* game -\d.*stays version 2"):
        raise_challenger()
    assert client.get_model_version_by_alias("streets", "champion").version == 2


def test_a_champion_of_meanwhile_stays(monkeypatch):
    """Another promotion ends while this one still scores."""
    versions = {"challenger": ["2"], "champion": ["1", "3"]}
    monkeypatch.setattr(promote, "_version", lambda name, alias: versions[alias].pop(0))
    monkeypatch.setattr(promote, "_compare", lambda *_: {})
    monkeypatch.setattr(promote.tracking, "configure", lambda *_: None)
    monkeypatch.setattr(promote, "MlflowClient", None)
    args = argparse.Namespace(name="m", challenger="challenger", champion="champion", storage="runs")
    with pytest.raises(
        ValueError, match="m@champion was version 1 when this began and is version 3 now: it stays that"
    ):
        promote.run(args)


def test_without_a_challenger(run_command, streets, tmp_path):
    with pytest.raises(ValueError, match="nothing has no alias challenger: register it"):
        run_command("promote", "nothing", streets.camera, "--storage", tmp_path)
