"""Raw data sets: where images and labels lie and what the raw ids mean. One file each, named on the command line."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.labels import LabelSpace


@dataclass(frozen=True)
class Pair:
    """An image and its label. One of the two may be missing on disk; ingest says so."""

    name: str
    image: str
    label: str


@dataclass(frozen=True)
class Layout:
    """A data set's raw form.

    Args:
        name: as on the command line.
        label_space: what the converted labels are ids of.
        id_to_train: every legal raw id → id in `label_space`, or 255.
        splits: lists the splits below a raw folder.
        pairs: (raw folder, split) → the pairs, sorted by name, also those of which one part is missing.
        expects: what lies in a raw folder, for messages.
    """

    name: str
    label_space: LabelSpace
    id_to_train: dict[int, int]
    splits: Callable[[Path], list[str]]
    pairs: Callable[[Path, str], list[Pair]]
    expects: str

    def find(self, raw: str, split: str | None) -> tuple[str, list[Pair]]:
        """The split (the only one, or train, if none is named) and its pairs.

        Raises:
            ValueError: there is no such folder or split, or nothing in it.
        """
        root = Path(raw).resolve()
        if not root.is_dir():
            raise ValueError(f"{self.name}: no folder {raw}: name the one that holds {self.expects}")
        splits = self.splits(root)
        chosen = split or (splits[0] if len(splits) == 1 else "train")
        if chosen not in splits:
            raise ValueError(
                f"{self.name}: no split {chosen} in {raw} (there: {', '.join(splits) or 'none'}); "
                f"expected {self.expects}"
            )
        pairs = self.pairs(root, chosen)
        if not pairs:
            raise ValueError(f"{self.name}: no images in {raw}, split {chosen}: expected {self.expects}")
        return chosen, pairs


def get_layout(name: str) -> Layout:
    """The layout of `datasets/layouts/NAME.py`. Raises ValueError with the nearest name."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        raise ValueError(
            f"no layout {name!r}: {f'did you mean {match[0]}?' if match else 'known: ' + ', '.join(known)}"
        )
    return importlib.import_module(f"datasets.layouts.{name}").LAYOUT


def folders(parent: Path) -> list[str]:
    """Names of the folders in a folder that may be missing."""
    return sorted(path.name for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def pair_up(images: dict[str, Path], labels: dict[str, Path], image_for: Callable, label_for: Callable) -> list[Pair]:
    """All names of either side, sorted.

    Args:
        images, labels: name → file, as found.
        image_for, label_for: name → the file that should be there.
    """
    names = sorted(images.keys() | labels.keys())
    return [
        Pair(name, str(images.get(name) or image_for(name)), str(labels.get(name) or label_for(name))) for name in names
    ]
