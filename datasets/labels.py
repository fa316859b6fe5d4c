"""What a pixel can be: the 19 Cityscapes classes, their raw ids and colours, and coarser groupings of them."""

from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""The train id of a pixel that neither trains nor counts."""

# class name, Cityscapes raw labelId, RGB colour (Cordts et al., CVPR 2016, the data set's own label table)
_TABLE = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)

CLASSES = tuple(name for name, _, _ in _TABLE)
PALETTE = np.array([colour for _, _, colour in _TABLE], dtype=np.uint8)

CITYSCAPES_LABEL_IDS: dict[int, int] = {raw: IGNORE for raw in range(34)} | {
    raw: train for train, (_, raw, _) in enumerate(_TABLE)
}
"""Raw Cityscapes labelId → train id. The licence plate's -1 is not in here: an 8-bit PNG stores it as 255."""

TRAIN_IDS: dict[int, int] = {train: train for train in range(len(CLASSES))} | {IGNORE: IGNORE}
"""For labels that hold train ids already."""

VOID_COLOURS = (
    (0, 0, 0),  # unlabeled, ego vehicle, static …
    (111, 74, 0),  # dynamic
    (81, 0, 81),  # ground
    (250, 170, 160),  # parking
    (230, 150, 140),  # rail track
    (180, 165, 180),  # guard rail
    (150, 100, 100),  # bridge
    (150, 120, 90),  # tunnel
    (0, 0, 90),  # caravan
    (0, 0, 110),  # trailer
)
"""RGB colours of Cityscapes' other labels, which train no class."""


def train_ids(**classes: tuple[int, ...] | int) -> dict[int, int]:
    """Raw ids → train ids, from the raw ids of each class (`traffic_light` for "traffic light"); `void` is a class."""
    table = {}
    for name, raw_ids in classes.items():
        train = IGNORE if name == "void" else CLASSES.index(name.replace("_", " "))
        table |= dict.fromkeys(raw_ids if isinstance(raw_ids, tuple) else (raw_ids,), train)
    return table


@dataclass(frozen=True)
class LabelSpace:
    """A set of classes that a data set is labelled in, each made of one or more of the 19 train ids.

    Args:
        name: how manifests refer to it.
        classes: class names, in the order of their ids.
        palette: RGB colours, uint8 [len(classes), 3].
        members: for each class the train ids it covers.
    """

    name: str
    classes: tuple[str, ...]
    palette: np.ndarray
    members: tuple[tuple[int, ...], ...]

    def collapse(self, train_ids: np.ndarray) -> np.ndarray:
        """Train ids (uint8, any shape) → ids of this space, 255 where no class covers them."""
        table = np.full(256, IGNORE, dtype=np.uint8)
        for index, covered in enumerate(self.members):
            table[list(covered)] = index
        return table[train_ids]


CITYSCAPES = LabelSpace("cityscapes", CLASSES, PALETTE, tuple((i,) for i in range(len(CLASSES))))

IDD_LITE = LabelSpace(
    name="idd_lite",
    classes=("drivable", "non-drivable", "living things", "vehicles", "roadside objects", "far objects", "sky"),
    palette=PALETTE[[0, 1, 11, 13, 5, 8, 10]],
    members=((0,), (1, 9), (11, 12), (13, 14, 15, 16, 17, 18), (3, 4, 5, 6, 7), (2, 8), (10,)),
)

LABEL_SPACES = {space.name: space for space in (CITYSCAPES, IDD_LITE)}
