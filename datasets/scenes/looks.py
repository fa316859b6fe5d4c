"""How a painted street is seen: a game's fair day, or a camera in weather, at night, through a real lens."""

import cv2
import numpy as np

from datasets.scenes.canvas import RAW_ID, Canvas
from datasets.scenes.textures import noise


def game(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A day's light: haze, exposure, contrast, colour temperature, slight softness and grain. RGB uint8 [h, w, 3]."""
    image = _haze(canvas, rng.uniform(0, 0.006))
    grain = noise(canvas.label.shape, 1, rng) * np.float32(rng.uniform(3, 10))
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.35, 0.9)) * canvas.height / 360)
    warmth = rng.uniform(-0.09, 0.09)
    exposure = rng.uniform(0.7, 1.2) if rng.random() < 0.75 else rng.uniform(0.35, 0.7)
    gamma, levels = rng.uniform(0.8, 1.3), np.linspace(0, 1, 256, dtype=np.float32)
    curves = [255 * np.clip(exposure * tint * levels, 0, 1) ** gamma for tint in (1 + warmth, 1, 1 - warmth)]
    graded = cv2.LUT(_to_uint8(image + grain[..., None]), _to_uint8(np.stack(curves, axis=-1)[None]))
    grey = cv2.cvtColor(cv2.cvtColor(graded, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pale = rng.uniform(0, 0.4)
    return cv2.addWeighted(graded, 1 - pale, grey, pale, 0)


def _haze(canvas: Canvas, density: float) -> np.ndarray:
    veil = (1 - np.exp(-np.float32(density) * np.minimum(canvas.depth, 120)))[..., None]
    veil[canvas.sky()] = 0
    return canvas.image * (1 - veil) + np.float32([200, 206, 212]) * veil


def camera(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Weather, light, surfaces, lens and sensor are drawn anew for every picture. RGB uint8 [h, w, 3]."""
    image = _resurface(canvas, rng)
    weather = str(rng.choice(["day", "overcast", "haze", "rain", "night", "low sun"]))
    image = _light(image, canvas, weather, rng)
    if weather in ("haze", "rain", "overcast"):
        density = {"haze": rng.uniform(0.02, 0.05), "rain": 0.012, "overcast": 0.006}[weather]
        veil = 1 - np.exp(-density * np.minimum(canvas.depth, 120))[..., None]
        image = image * (1 - veil) + np.float32([190, 195, 200]) * veil
    if weather == "rain":
        image = _streaks(image, rng)
    return _lens(image, rng)


def _resurface(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Other colours and coarser textures for each class than in the game."""
    image = canvas.image.astype(np.float32)
    surfaces = np.where(canvas.sky(), RAW_ID["sky"], canvas.label)
    for raw in np.unique(surfaces):
        region = surfaces == raw
        pale = rng.uniform(0.2, 0.6) if raw != RAW_ID["sky"] else rng.uniform(0.4, 0.9)
        grey = image[region].mean(axis=1, keepdims=True)
        tint = rng.uniform(0.8, 1.15, 3).astype(np.float32)
        image[region] = (image[region] * (1 - pale) + grey * pale) * tint
    texture = noise(canvas.label.shape, 4, rng) * 14 + noise(canvas.label.shape, 24, rng) * 16
    texture[canvas.sky()] *= 0.3
    return image + texture[..., None]


def _light(image: np.ndarray, canvas: Canvas, weather: str, rng: np.random.Generator) -> np.ndarray:
    if weather == "overcast":
        return image * 0.8 * (1 - 0.3) + image.mean(axis=2, keepdims=True) * 0.3
    if weather == "low sun":
        height, width = canvas.label.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        distance = np.hypot(y - 0.3 * height, x - rng.uniform(0, width))
        glow = np.exp(-distance / (0.5 * height))[..., None]
        return image * np.float32([1.1, 0.95, 0.75]) + glow * np.float32([120, 90, 40])
    if weather == "night":
        lamps = np.float32([1.0, 0.85, 0.6]) * np.exp(-np.minimum(canvas.depth, 60) / 18)[..., None]
        dark = image * np.float32([0.22, 0.24, 0.32]) + image * 0.5 * lamps
        bright = image.max(axis=2, keepdims=True) > 225
        return np.where(bright & ~canvas.sky()[..., None], image * 0.9, dark)
    return image


def _streaks(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drops = (rng.random(image.shape[:2]) > 0.997).astype(np.float32)
    return image + cv2.filter2D(drops, -1, np.eye(9, dtype=np.float32)[:, ::-1])[..., None] * 45


def _lens(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour cast, vignette, blur, sensor noise and JPEG."""
    height, width = image.shape[:2]
    image = image * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    image = image * (1 - rng.uniform(0.05, 0.3) * (x**2 + y**2)[..., None] / 2)
    image = cv2.GaussianBlur(_to_uint8(image), (0, 0), float(rng.uniform(0.4, 1.1)) * height / 256)
    noisy = image + rng.normal(0, rng.uniform(2, 9), image.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 92))]
    return cv2.imdecode(cv2.imencode(".jpg", _to_uint8(noisy), quality)[1], cv2.IMREAD_COLOR)


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


LOOKS = {"game": game, "camera": camera}
