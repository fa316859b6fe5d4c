"""Mapillary's config file: what isn't a list of labels is told, and no bar to other folders that have a config.json."""

import json

import pytest

from datasets.guess import describe
from datasets.layouts import get_layout
from datasets.raw_folder import RawFolder

SKY = {"name": "nature--sky"}


@pytest.mark.parametrize("layout", ["mapillary", "mapillary_v2"])
@pytest.mark.parametrize(
    "config",
    [
        3,
        [],
        {"model_type": "dinov2"},
        {"labels": 3},
        {"labels": []},
        {"labels": ["nature--sky"]},
        {"labels": [{"id": 0}]},
        {"labels": [SKY, {"name": None}]},
        {"labels": [SKY, {"name": 7}]},
        {"labels": [SKY] * 257},
    ],
    ids=lambda config: json.dumps(config)[:40],
)
def test_a_config_without_labels_is_told(tmp_path, layout, config):
    for name in ("config.json", "config_v2.0.json"):
        (tmp_path / name).write_text(json.dumps(config))
    (tmp_path / "training/images").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"{layout}: config.*json has no list of labels with names, 256 at most"):
        get_layout(layout).find(str(tmp_path))
    assert describe(str(tmp_path)) == "it holds no shards, and no layout's files"


def test_a_byte_tells_256_labels(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"labels": [SKY] * 256}))
    layout = get_layout("mapillary")
    assert layout.adapt(layout, RawFolder(str(tmp_path))).id_to_train == dict.fromkeys(range(256), 10)
