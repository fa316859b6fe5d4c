"""Parts of a sample's time are what its functions take."""

import time

import pytest

from benchmarks import stream_phases
from datasets import augment
from datasets.sample import Sample


def test_parts_add_up_and_a_slow_one_shows(streets, monkeypatch):
    monkeypatch.setattr(stream_phases, "CROP", (48, 64))
    monkeypatch.setattr(stream_phases, "SHORT_EDGES", [64])
    pixels, distort = Sample.pixels, augment.distort
    monkeypatch.setattr(Sample, "pixels", lambda *args: time.sleep(0.03) or pixels(*args))
    monkeypatch.setattr(augment, "distort", lambda *args: time.sleep(0.06) or distort(*args))
    found = stream_phases.of_parts(streets.game, 5)
    assert found["decode image"] > 29 and found["colours"] > 59 and found["resize image"] < found["decode image"]
    assert sum(ms for part, ms in found.items() if part != "whole") == pytest.approx(found["whole"])
    assert set(found) == {*stream_phases.PARTS, "rest", "whole"}


def test_whole_images_are_asked_for(streets, monkeypatch):
    """And nothing else is timed, by a clock that stands still meanwhile."""
    pixels, asked = Sample.pixels, []

    def slow(sample: Sample, *part: slice) -> object:
        asked.append(part)
        return pixels(sample, *part)

    monkeypatch.setattr(Sample, "pixels", slow)
    monkeypatch.setattr(stream_phases.time, "perf_counter", lambda: 0.03 * len(asked))
    assert stream_phases.whole_images(streets.game, 3) == 30 and asked == [()] * 3
