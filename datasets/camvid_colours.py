"""CamVid's 32 colours (Brostow et al., 2009, the data set's label_colors.txt), which its own labels are drawn in."""

import numpy as np

COLOURS = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0),
    "Wall": (64, 192, 0),
}
"""Label → RGB; a label's id is its place in here."""


def _packed(pixels: np.ndarray) -> np.ndarray:
    """RGB uint8 [..., 3] → one number each."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


_NUMBERS = _packed(np.array(list(COLOURS.values()), np.uint8))
_IDS = np.argsort(_NUMBERS).astype(np.uint8)
_SORTED = _NUMBERS[_IDS]


def ids_of(pixels: np.ndarray, path: str) -> np.ndarray:
    """RGB uint8 [h, w, 3] → ids, uint8 [h, w]. Raises ValueError for a colour that is none of the 32."""
    numbers = _packed(pixels)
    places = np.searchsorted(_SORTED, numbers).clip(max=len(_SORTED) - 1)
    unknown = _SORTED[places] != numbers
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        colour = ", ".join(map(str, pixels[row, column]))
        raise ValueError(
            f"the label's colour ({colour}) in row {row}, column {column} is none of CamVid's 32 ({path}): use the "
            "label as it was published, as scaling and lossy files mix colours"
        )
    return _IDS[places]
