"""Raw data sets: where images and labels lie and what the raw ids mean. One file each, named on the command line."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from datasets.labels import CITYSCAPES, LabelSpace
from datasets.raw_folder import RawFolder, Unready, fill, fixed_folder


@dataclass(frozen=True)
class Pair:
    """An image and its label. One of the two may be missing on disk; ingest says so.

    Args:
        name: with forward slashes.
        image, label: paths or URIs.
        encoding: how the label's file holds ids: a key of `datasets.raw_labels.READERS`.
    """

    name: str
    image: str
    label: str
    encoding: str = "ids"


@dataclass(frozen=True)
class Form:
    """One way a data set lies on disk.

    Args:
        images, labels: globs below the raw folder; `{split}` stands for the split's folder. An image and a label are
            a pair if their wildcards stand for the same; that, joined by slashes, is the pair's name.
        ids: every legal raw id → id in the layout's label space, or 255.
        encoding: as in `Pair`.
        skip: ending of files that `labels` matches and that are something else.
        split: the only split that lies so; it lies in no other way.
    """

    images: tuple[str, ...]
    labels: str
    ids: dict[int, int]
    encoding: str = "ids"
    skip: str = ""
    split: str = ""

    def of(self, folder: str) -> "Form":
        """This form with a split's folder filled in."""
        images = tuple(glob.replace("{split}", folder) for glob in self.images)
        return replace(self, images=images, labels=self.labels.replace("{split}", folder))

    def pairs(self, raw: RawFolder) -> list[Pair]:
        """All that is there of either side, sorted by name; none if there is no label at all.

        Raises:
            SeveralFiles: two images stand for one sample.
        """
        labels = raw.match((self.labels,))
        labels = {key: path for key, path in labels.items() if not (self.skip and path.endswith(self.skip))}
        if not labels:
            return []
        images = raw.match(self.images)
        found = [
            Pair(
                "/".join(part.strip("/") for part in key if part),
                raw.uri(images.get(key) or fill(self.images[0], key)),
                raw.uri(labels.get(key) or fill(self.labels, key)),
                self.encoding,
            )
            for key in images.keys() | labels.keys()
        ]
        return sorted(found, key=lambda pair: pair.name)


@dataclass(frozen=True)
class Layout:
    """A data set's raw form.

    Args:
        name: as on the command line.
        forms: the ways it lies on disk; the first that is there with labels counts.
        licence: what it may be used for.
        url: where to get it.
        counts: split → how many samples there are; several where it was published in stages, or split in two ways.
        split_folders: split → its folder; empty: any folder in the place of `{split}` is a split.
        label_space: what the converted labels are ids of.
        domains: split → the domain's name in reports, where it isn't the layout's.
        made_from, made_by: glob of what labels are rendered from if they don't come rendered, and the tool for it.
        adapt: reads what the raw folder itself says of ids or places, and returns the layout with it.
    """

    name: str
    forms: tuple[Form, ...]
    licence: str
    url: str
    counts: dict[str, int | tuple[int, ...]]
    split_folders: dict[str, str] = field(default_factory=dict)
    label_space: LabelSpace = CITYSCAPES
    domains: dict[str, str] = field(default_factory=dict)
    made_from: str = ""
    made_by: str = ""
    adapt: Callable[["Layout", RawFolder], "Layout"] | None = None

    @property
    def id_to_train(self) -> dict[int, int]:
        """The ids of the first form: of the one that was found, in a layout that `find` returned."""
        return self.forms[0].ids

    def expects(self, split: str | None) -> str:
        """What lies in a raw folder, for messages."""
        if not self.forms:
            return "what it names"
        form = next(iter(self._forms(split if split in self.split_folders else "SPLIT")), self.forms[0])
        more = f" (more ways: datasets/layouts/{self.name}.py)" if len(self.forms) > 1 else ""
        return f"{form.images[0]} and {form.labels}{more}"

    def domain(self, split: str) -> str:
        """The domain's name in reports if the user gives none."""
        return self.domains.get(split, self.name)

    def find(self, raw: str, split: str | None = None) -> tuple["Layout", str, list[Pair]]:
        """What lies in a raw folder.

        Args:
            raw: path or URI of the folder, or of one split's folder in it.
            split: default: the only split there is, or train.

        Returns:
            the layout with the one form that was found, the split, its pairs sorted by name.

        Raises:
            ValueError: there is no such folder or split, nothing in it, no label, or two images for one.
        """
        folder = RawFolder(raw)
        if not folder.is_folder():
            raise ValueError(f"{self.name}: no folder {raw}: name the one that holds {self.expects(split)}")
        above = folder.at("..")
        if not self._splits(folder) and self._by_folder(folder.name) in self._splits(above):
            folder, split = above, split or folder.name
        chosen = (self if self.forms else self._adapted(folder))._choose(folder, split)
        layout = self._adapted(folder)
        form, pairs = layout._pairs(folder, chosen)
        return replace(layout, forms=(form,)), chosen, pairs

    def splits(self, raw: RawFolder) -> list[str]:
        """The splits that lie in a raw folder. Raises ValueError if a file is missing that tells them or the ids."""
        return self._adapted(raw)._splits(raw)

    def _adapted(self, raw: RawFolder) -> "Layout":
        return self.adapt(self, raw) if self.adapt else self

    def _splits(self, raw: RawFolder) -> list[str]:
        names = list(self.split_folders)
        if not names:
            places = {glob.partition("{split}")[0].rstrip("/") for form in self.forms for glob in form.images}
            names = sorted({name for place in places for name in raw.folders(place)})
        return [
            name
            for name in names
            if any(raw.is_folder(fixed_folder(glob)) for form in self._forms(name) for glob in form.images)
        ]

    def _forms(self, split: str) -> list[Form]:
        folder = self.split_folders.get(split, split)
        own = any(form.split == split for form in self.forms)
        return [form.of(folder) for form in self.forms if form.split == (split if own else "")]

    def _by_folder(self, split: str) -> str:
        """The split of that name, or whose folder has that name."""
        names = {folder: name for name, folder in self.split_folders.items() if folder}
        return split if split in self.split_folders else names.get(split.replace("\\", "/"), split)

    def _choose(self, raw: RawFolder, wanted: str | None) -> str:
        splits = self._splits(raw)
        chosen = self._by_folder(wanted or (splits[0] if len(splits) == 1 else "train"))
        if chosen not in splits:
            below = [] if splits else [name for name in raw.folders() if self._splits(raw.at(name))]
            raise ValueError(
                f"{self.name}: no split {chosen} in {raw.uri('').rstrip('/')} (there: {', '.join(splits) or 'none'}); "
                + (f"did you mean the folder {below[0]} in it?" if below else f"expected {self.expects(chosen)}")
            )
        return chosen

    def _pairs(self, raw: RawFolder, split: str) -> tuple[Form, list[Pair]]:
        forms = self._forms(split)
        for form in forms:
            pairs = form.pairs(raw)
            if pairs:
                return form, pairs
        images = max(sum(len(raw.match((glob,))) for glob in form.images) for form in forms)
        place = f"{self.name}: {images or 'no'} images in {raw.uri('').rstrip('/')}, split {split}"
        made_from = self.made_from.replace("{split}", self.split_folders.get(split, split))
        if made_from and raw.match((made_from,)):
            raise Unready(f"{place}, and labels that are not rendered yet ({made_from}): {self.made_by}")
        missing = "" if images else f"{' or '.join(forms[0].images)} and "
        raise ValueError(f"{place}, and no labels: expected {missing}{' or '.join(form.labels for form in forms)}")


def layout_names() -> list[str]:
    """The known layouts, sorted."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def get_layout(name: str) -> Layout:
    """The layout of `datasets/layouts/NAME.py`. Raises ValueError with the nearest name."""
    known = layout_names()
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        raise ValueError(
            f"no layout {name!r}: {f'did you mean {match[0]}?' if match else 'known: ' + ', '.join(known)}"
        )
    return importlib.import_module(f"datasets.layouts.{name}").LAYOUT


def expected_count(layout: str, split: str) -> tuple[int, ...]:
    """How many samples a split of a layout is known to have, quarantined ones too; several where it was published
    in stages or split in two ways, empty where nothing is known (your own folder, a layout that has gone)."""
    if layout not in layout_names():
        return ()
    count = get_layout(layout).counts.get(split, ())
    return count if isinstance(count, tuple) else (count,)


def recognise(raw: str) -> str | None:
    """The layout that a raw folder has, or None. Your own folder's rein.yaml comes before all others."""
    for name in sorted(layout_names(), key=lambda name: name != "folder"):
        layout = get_layout(name)
        try:
            splits = layout.splits(RawFolder(raw))
        except Unready:
            return name
        except ValueError:
            continue
        if any(_is_split(layout, raw, split) for split in splits):
            return name
    return None


def _is_split(layout: Layout, raw: str, split: str) -> bool:
    """Test images come without labels: such a split says nothing of the others."""
    try:
        layout.find(raw, split)
    except Unready:
        return True  # ingest says what to do
    except ValueError:
        return False
    return True
