"""How many samples each split is known to have, as the data sets' own pages and papers state it."""

from datasets.layouts import expected_count, get_layout, layout_names

COUNTS = {
    "acdc": {
        "fog_train": 400,
        "fog_val": 100,
        "night_train": 400,
        "night_val": 106,
        "rain_train": 400,
        "rain_val": 100,
        "snow_train": 400,
        "snow_val": 100,
    },
    "bdd100k": {"train": 7000, "val": 1000},
    "camvid": {"train": (367, 369), "val": (101, 100), "test": (233, 232), "all": 701},
    "cityscapes": {"train": 2975, "val": 500, "test": 1525},
    "folder": {},
    "gtav": {"all": 24966},
    "idd": {"train": (6993, 14027), "val": (981, 2036)},
    "idd_lite": {"train": 1403, "val": 204},
    "mapillary": {"train": 18000, "val": 2000},
    "mapillary_v2": {"train": 18000, "val": 2000},
    "synthia": {"all": 9400},
    "urbansyn": {"all": 7539},
}


def test_the_counts_of_every_split():
    assert {name: get_layout(name).counts for name in layout_names()} == COUNTS


def test_expected_counts():
    assert expected_count("cityscapes", "train") == (2975,)
    assert expected_count("idd", "val") == (981, 2036)
    assert expected_count("folder", "train") == expected_count("gone", "all") == ()
