"""What the pages of evaluation are made of: embedded pictures, heat maps, calibration, verdicts, digests."""

import base64
import io
from collections.abc import Iterable
from itertools import permutations

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.labels import IGNORE, PALETTE, LabelSpace
from pipelines.html import Domain, embed, figures, report_page
from pipelines.html.comparison import verdict
from pipelines.html.templates import digests, signed

DIGEST = "sha256:" + "0123456789abcdef" * 4
THREE = LabelSpace("three", ("a", "b", "c"), PALETTE[:3], ((0,), (1,), (2,)))


def test_labels_keep_their_ids_and_what_is_ignored_is_see_through():
    labels = np.array([[0, 5], [18, IGNORE]], np.uint8)
    found = Image.open(opened(embed.label_map(labels, PALETTE)))
    assert found.mode == "P" and found.format == "PNG"
    pixels = np.asarray(found.convert("RGBA"))
    assert np.array_equal(pixels[..., :3][labels != IGNORE], PALETTE[[0, 5, 18]])
    assert pixels[..., 3].tolist() == [[255, 255], [255, 0]]
    wrong = embed.errors(labels, np.array([[0, 6], [18, 3]], np.uint8))
    assert wrong.tolist() == [[embed.RIGHT, embed.WRONG], [embed.RIGHT, embed.UNJUDGED]]
    assert np.asarray(Image.open(opened(embed.error_map(wrong))).convert("RGBA"))[0, :, 3].tolist() == [0, 255]


def test_big_pictures_are_scaled_and_small_ones_stay():
    labels = np.random.default_rng(0).choice(np.array([0, 18, IGNORE], np.uint8), (500, 2000))
    small = embed.fit(labels, labels=True)
    assert small.shape == (240, 960) and set(np.unique(small)) == {0, 18, IGNORE}
    image = np.full((1052, 1914, 3), (10, 200, 90), np.uint8)
    shown = cv2.imdecode(np.frombuffer(opened(embed.photograph(embed.fit(image))).read(), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (528, 960, 3) and np.abs(shown.astype(int) - image[0, 0]).max() < 6
    assert embed.fit(image[:100, :200]).shape == (100, 200, 3)


def test_confusions_by_hand():
    made = Domain("d", THREE, {}, np.array([[75, 25, 0], [0, 10, 0], [0, 0, 0]]))
    rows = figures.confusion_cells(made)
    assert [cell["text"] for cell in rows[0]["cells"]] == ["75", "25", ""] and rows[2]["absent"]
    assert rows[0]["cells"][1]["heat"] == 50 and rows[0]["cells"][0]["hit"]
    assert figures.largest_confusions(made) == [{"true": "a", "guess": "b", "share": 25.0, "part": 100.0}]


def test_calibration_by_hand():
    """ECE: (|30 − 10| + |120 − 100| + |630 − 700|) / 1000."""
    found = figures.reliability(np.array([[0, 0, 0], [100, 30, 10], [200, 120, 100], [700, 630, 700]]))
    assert found["ece"] == pytest.approx(11.0)
    bars = [(bar["left"], bar["said"], bar["right"]) for bar in found["bars"]]
    assert bars == [(25, 30, 10), (50, 60, 50), (75, 90, 100)]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "not told apart"), (0, 1, "not told apart")],
)
def test_a_verdict_is_what_the_interval_says(low, high, said):
    assert verdict({"difference": (low + high) / 2, "low": low, "high": high}) == said


def test_digests_are_whole_and_escaped():
    assert str(digests(f"<b> {DIGEST} &")) == (
        f'&lt;b&gt; <code class="digest" tabindex="0" title="{DIGEST}">{DIGEST}</code> &amp;'
    )
    assert str(digests("caf1c28")) == "caf1c28" and signed(-1.25) == "−1.25"


def test_a_page_of_the_least():
    """No pictures, no calibration, no facts: one domain without a pixel that counts, so its mIoU is NaN."""
    scores = {"mIoU": float("nan"), "IoU": {}, "samples": 0, "resolution": "as stored"}
    page = report_page("m", [Domain("bare", THREE, scores, np.zeros((3, 3), int))], {})
    body = page.split("<body>")[1].split("<script>")[0]
    assert body.count('class="absent-note"') == 3 and "nan" not in body.lower()
    assert "Samples</h3>" not in body and "Reliability" not in body and "Facts" not in body


@pytest.mark.parametrize("order", permutations((40.0, 60.0, float("nan"))))
def test_the_ends_are_those_of_domains_that_have_a_score(order):
    """In any order of the domains; NaN is neither less nor more."""
    assert '<span class="note">40.00 to 60.00</span>' in page_of(order)
    assert "– to –" not in page_of([float("nan")] * 2)


def test_conditions_as_one_stand_in_the_tables_and_in_no_mean():
    """A row of scores and one of classes; the mean over domains, and the number of samples, are of the domains."""
    each = {"IoU": {"a": 10.0}, "samples": 3, "resolution": "as stored"}
    domains = [Domain(name, THREE, each | {"mIoU": 20.0}, np.zeros((3, 3), int)) for name in ("fog", "night")]
    both = {"acdc": each | {"mIoU": 77.77, "IoU": {"a": 66.6}, "samples": 6, "of": ["fog", "night"]}}
    page = report_page("m", domains, {}, pooled=both)
    scores, classes = page.split('id="scores"')[1].split('id="classes"')
    assert scores.count("acdc, all") == 1 and "77.77" in scores
    assert classes.count("acdc, all") == 1 and "66.6" in classes
    footer = scores.split("<tfoot>")[1]
    assert "<strong>20.00</strong>" in footer and "<td>6</td>" in footer


def page_of(scores: Iterable[float]) -> str:
    """A page of domains of these mIoUs."""
    given = [{"mIoU": score, "IoU": {}, "samples": 0, "resolution": "as stored"} for score in scores]
    return report_page("m", [Domain(f"d{i}", THREE, each, np.zeros((3, 3), int)) for i, each in enumerate(given)], {})


def opened(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))
