"""Cityscapes-C's corruptions: what their publications fix holds, and a seed fixes the rest."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from datasets.corruptions import KINDS, SEVERITIES, corrupt
from datasets.corruptions.blur import shuffled
from datasets.corruptions.weather import frosted_glass, plasma
from datasets.scenes import render

WITHOUT_CHANCE = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
NOT_EVENLY_WORSE = {"glass_blur", "snow", "frost", "fog"}  # by the published constants


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return render(4, 0, "game", (192, 320))[0]


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.full((256, 320, 3), 128, np.uint8)


def test_kinds_are_the_published_ones():
    assert len(KINDS) == len(set(KINDS)) == 16 and KINDS[-1] == "speckle_noise"


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_image(street, kind):
    before = street.copy()
    first, again, other = (corrupt(street, kind, 3, seed) for seed in (0, 0, 1))
    assert first.shape == street.shape and first.dtype == np.uint8 and np.array_equal(street, before)
    assert np.array_equal(first, again) and np.array_equal(first, other) == (kind in WITHOUT_CHANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_severity_takes_it_further_from_the_clean_image(street, kind):
    means = [np.mean([distance(corrupt(street, kind, s, seed), street) for seed in range(4)]) for s in SEVERITIES]
    assert means[0] > 0.5 and means[-1] > 1.05 * means[0]
    assert kind in NOT_EVENLY_WORSE or means == sorted(means), means


@pytest.mark.parametrize("shape", [(32, 32), (33, 200), (190, 45)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size(kind, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for severity in (1, 5):
        assert corrupt(image, kind, severity, 0).shape == (*shape, 3)


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.08), (3, 0.18)])
def test_gaussian_noise_has_the_published_deviation(grey, severity, deviation):
    noise = corrupt(grey, "gaussian_noise", severity, 0) / 255 - 128 / 255
    assert noise.std() == pytest.approx(deviation, rel=0.02) and abs(noise.mean()) < 0.002
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


def test_speckle_noise_grows_with_the_light(grey):
    dark, light = (corrupt(image, "speckle_noise", 1, 0).astype(float) for image in (grey // 2, grey))
    assert dark.std() == pytest.approx(64 * 0.15, rel=0.02) and light.std() == pytest.approx(128 * 0.15, rel=0.02)


def test_shot_noise_counts_photons(grey):
    seen = corrupt(grey, "shot_noise", 5, 0) / 255
    assert set(np.rint(np.unique(seen) * 3)) == {0, 1, 2, 3}  # three photons make white
    mild = corrupt(grey, "shot_noise", 1, 0) / 255
    assert mild.std() == pytest.approx(np.sqrt(128 / 255 / 60), rel=0.02)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.03), (5, 0.27)])
def test_impulse_noise_hits_the_published_share(grey, severity, share):
    hit = corrupt(grey, "impulse_noise", severity, 0)
    assert np.mean(hit == 0) == pytest.approx(share / 2, rel=0.05)
    assert np.mean(hit == 255) == pytest.approx(share / 2, rel=0.05)
    assert set(np.unique(hit)) == {0, 128, 255}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_adds_to_the_value(street, severity):
    before = cv2.cvtColor(street.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
    after = cv2.cvtColor(corrupt(street, "brightness", severity, 0).astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
    assert np.allclose(after[..., 2], np.minimum(before[..., 2] + severity / 10, 1), atol=0.6 / 255)
    lit = before[..., 2] > 0.2
    assert np.abs(after[..., 1] - before[..., 1])[lit].max() < 0.02  # the saturation stays
    black = corrupt(np.zeros((32, 32, 3), np.uint8), "brightness", severity, 0)
    assert np.unique(black).tolist() == [round(25.5 * severity)]


def test_contrast_draws_towards_each_channels_mean(street):
    means = street.reshape(-1, 3).mean(axis=0)
    assert np.abs(corrupt(street, "contrast", 2, 0) - ((street - means) * 0.3 + means)).max() <= 0.5 + 1e-6


def test_pixelate_leaves_as_many_pixels_as_published(street):
    coarse = corrupt(street, "pixelate", 5, 0)
    blocks = coarse.reshape(48, 4, 80, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    truth = street.reshape(48, 4, 80, 4, 3).mean(axis=(1, 3))
    assert np.abs(blocks[:, 0, :, 0] - truth).max() < 1.01


def test_jpeg_has_the_published_quality(street):
    file = cv2.imencode(".jpg", street, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    assert distance(corrupt(street, "jpeg_compression", 3, 0), cv2.imdecode(file, cv2.IMREAD_COLOR)) < 0.2


def point(size: int = 101) -> np.ndarray:
    image = np.zeros((size, size, 3), np.uint8)
    image[size // 2, size // 2] = 255
    return image


def test_defocus_spreads_a_point_over_a_disk():
    seen = corrupt(point(), "defocus_blur", 3, 0)[..., 0]
    rows, columns = np.nonzero(seen)
    radii = np.hypot(rows - 50, columns - 50)
    assert radii.max() <= 6 + 1.5 and seen[50, 50] == round(255 / np.sum(np.hypot(*np.mgrid[-6:7, -6:7]) <= 6))


def test_motion_draws_a_point_out_to_one_side():
    """At 45 degrees at most from the horizontal, with the head the brightest."""
    for seed in range(5):
        seen = corrupt(point(), "motion_blur", 1, seed)[..., 0]
        rows, columns = np.nonzero(seen)
        ahead = {int(np.sign(50 - column)) for column in columns if column != 50}
        assert len(ahead) == 1 and np.ptp(columns) >= np.ptp(rows) and seen.argmax() == 50 * 101 + 50
    angles = {tuple(np.argwhere(corrupt(point(), "motion_blur", 1, seed)[..., 0])[0]) for seed in range(5)}
    assert len(angles) > 1


def test_zoom_keeps_the_middle_and_moves_the_rim(street):
    seen = corrupt(street, "zoom_blur", 5, 0)
    middle, rim = (slice(88, 104), slice(150, 170)), (slice(0, 30), slice(0, 40))
    smooth = gaussian_filter(street.astype(float), (2, 2, 0))
    assert distance(seen[middle], smooth[middle]) < distance(seen[rim], smooth[rim])


def test_shuffling_all_at_once_is_shuffling_one_after_another():
    height, width, reach = 24, 31, 3
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(-reach, reach, (2, height - 2 * reach, width - 2 * reach), dtype=np.int32)
    expected = np.arange(height * width).reshape(height, width)
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            draw = row - reach - 1, column - reach - 1
            expected[row, column] = expected[row + rows[draw], column + columns[draw]]
    assert np.array_equal(shuffled((height, width), reach, np.random.default_rng(5)), expected.ravel())


def test_elastic_moves_pixels_and_keeps_their_values(street):
    flat = np.full((64, 96, 3), 77, np.uint8)
    assert np.array_equal(corrupt(flat, "elastic_transform", 5, 0), flat)
    ramp = np.repeat(np.tile(np.arange(200, dtype=np.uint8), (160, 1))[..., None], 3, axis=2)
    moved = corrupt(ramp, "elastic_transform", 1, 0).astype(int) - ramp
    assert 0.5 < np.abs(moved[:, 20:-20]).max() < 12.5 * 0.005 * 160


def test_fog_follows_its_formula(street):
    swathes = plasma(street.shape[:2], 2, np.random.default_rng(9))
    assert swathes.min() >= 0 and swathes.max() <= 1
    brightest = street.max() / 255
    wanted = (street / 255 + 1.5 * swathes[..., None]) * brightest / (brightest + 1.5)
    assert np.abs(corrupt(street, "fog", 1, 9) - 255 * np.clip(wanted, 0, 1)).max() < 0.51


def test_plasma_has_large_swathes_and_fainter_small_ones():
    shares = []
    for decay in (1.4, 2.0):
        swathes = plasma((256, 512), decay, np.random.default_rng(1))
        shares.append(np.abs(np.diff(swathes, axis=1)).mean() / swathes.std())
    assert shares[1] < shares[0] / 2 and shares[0] < 0.2
    square = plasma((512, 512), 2, np.random.default_rng(1))
    assert np.abs(square[:, 0] - square[:, -1]).mean() < 0.05  # a torus: no seam, and no side that is brighter


def test_frost_is_as_bright_as_the_photographs():
    for seed in range(3):
        ice = frosted_glass((200, 400), np.random.default_rng(seed))
        assert 150 < ice.mean() < 170 and 20 < ice.std() < 45
        assert ice[..., 0].mean() > ice[..., 2].mean()  # bluish


def test_snow_whitens_and_falls(street):
    mild = corrupt(street, "snow", 1, 0)
    assert (mild.astype(int) >= street - 1).all() and mild.mean() > street.mean() + 10
    black = corrupt(np.zeros((128, 128, 3), np.uint8), "snow", 3, 2)[..., 0].astype(float)
    down, across = (np.abs(np.diff(black, axis=axis)).mean() for axis in (0, 1))
    assert down < across  # the trails are rather upright


def test_mistakes_name_the_nearest(street):
    with pytest.raises(ValueError, match="'gausian_noise': did you mean 'gaussian_noise'"):
        corrupt(street, "gausian_noise", 1, 0)
    with pytest.raises(ValueError, match="severity 6: the nearest is 5"):
        corrupt(street, "fog", 6, 0)
    with pytest.raises(ValueError, match=r"corruption fog: takes uint8 .* not float32 \[192, 320, 3\]"):
        corrupt(street.astype(np.float32), "fog", 1, 0)
    with pytest.raises(ValueError, match=r"at least 32 pixels a side"):
        corrupt(street[:31], "fog", 1, 0)


def test_corruptions_need_no_torch_and_no_ray():
    code = "import sys, datasets.corruptions; print([name for name in ('torch', 'ray') if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
