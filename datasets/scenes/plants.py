"""Trees in leaf, bare trees and bushes."""

import cv2
import numpy as np

from datasets.scenes.canvas import Colour
from datasets.scenes.place import Place
from datasets.scenes.textures import leaves, shade

_BEHIND = 90  # alpha of a gap in a crown: it shows what is behind, and is labelled as the tree, as annotators do


def tree(p: Place, rng: np.random.Generator) -> None:
    """A trunk and a crown: balls of leaves, or the bare twigs of winter."""
    size, bark = rng.uniform(0.8, 2.0), shade((78, 66, 54), rng.uniform(0.6, 1.3))
    bare, crown = rng.random() < 0.35, np.random.default_rng(rng.integers(2**32))
    wide, foot, top = rng.uniform(1.6, 2.6) * size, rng.uniform(1.2, 2.4), rng.uniform(4.5, 6) * size + 1
    spread = 0.3 if p.sun is None else 0.7 * wide
    p.shadow(-spread, spread, 1.0)
    thick = 0.11 * size + 0.05
    p.polygon([(-thick, 0), (thick, 0), (thick * 0.6, foot + 1), (-thick * 0.6, foot + 1)], bark, "vegetation")
    side = int(np.clip(wide * 2 * p.scale / 2, 20, 90))
    if bare:
        p.picture(-wide, foot, wide, top, _twigs(min(160, 2 * side), bark, crown), "vegetation")
        return
    leaf = _leaf(rng)
    for _ in range(3):
        dx, dy = rng.uniform(-0.4, 0.4) * wide, rng.uniform(-0.1, 0.2) * (top - foot)
        share = rng.uniform(0.6, 0.9)
        texture = leaves((side, side), shade(leaf, rng.uniform(0.85, 1.1)), rng.uniform(0.75, 0.97), crown)
        half, low = wide * share, foot + dy
        p.picture(dx - half, low, dx + half, low + (top - foot) * share, texture, "vegetation")


def bush(p: Place, rng: np.random.Generator) -> None:
    """Leaves down to the ground."""
    wide, high = rng.uniform(0.6, 2.5), rng.uniform(0.7, 2.5)
    texture = leaves((32, 48), _leaf(rng), 0.97, np.random.default_rng(rng.integers(2**32)))
    p.shadow(-wide * 0.7, wide * 0.7, 0.3)
    p.picture(-wide, -0.25 * high, wide, high, texture, "vegetation")


def _leaf(rng: np.random.Generator) -> Colour:
    """Mostly dull and dark greens, some yellow or brown."""
    dull = (int(rng.integers(50, 105)), int(rng.integers(72, 118)), int(rng.integers(35, 62)))
    return dull if rng.random() < 0.8 else shade((135, 110, 65), rng.uniform(0.6, 1.1))


def _twigs(side: int, bark: Colour, rng: np.random.Generator) -> np.ndarray:
    """Branches that fork from the middle of the lower edge. RGBA uint8 [side, side, 4]."""
    picture = np.zeros((side, side, 4), dtype=np.uint8)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    picture[np.hypot(x, y - 0.05) < 0.88, 3] = _BEHIND
    picture[..., :3] = bark
    tips = [(0.5, 1.0, -np.pi / 2, 0.26)]
    for depth in range(7):
        thick, grown = max(1, round(side * (0.03 - 0.008 * depth))), []
        for px, py, angle, length in tips:
            for turn in (rng.uniform(-0.7, -0.1), rng.uniform(0.1, 0.7)):
                qx, qy = px + length * np.cos(angle + turn), py + length * np.sin(angle + turn)
                ends = [(round(float(a) * side), round(float(b) * side)) for a, b in ((px, py), (qx, qy))]
                cv2.line(picture, *ends, (*shade(bark, rng.uniform(0.7, 1.4)), 255), thick)
                grown.append((qx, qy, angle + turn, length * rng.uniform(0.65, 0.85)))
        tips = grown
    return picture
