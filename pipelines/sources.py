"""What there is to predict: images in folders, globs, lists and stores, each with a name for its results."""

import glob
import hashlib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pyarrow.fs as pafs

from datasets import storage
from datasets.raw_folder import RawFolder, fixed_folder
from pipelines import video
from pipelines.pictures import Picture, check_scheme, opened, read_picture, reason_of
from pipelines.predictions import ENDINGS as RESULTS

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_LIST = ".txt"
_ASKED_AT_ONCE = 16  # Arrow asks a store for one file after another, each a round trip
_LONGEST = 200  # bytes of a file's name, which most file systems hold to 255


class Images:
    """Images that are files of their own.

    Args:
        files: name of the results → path or URI.
        infos: URI → what a store's listing told of it; the store is asked for those that are not there.
    """

    threads = 4

    def __init__(self, files: dict[str, str], infos: dict[str, pafs.FileInfo] | None = None):
        self.files, self._infos = files, infos or {}

    @property
    def places(self) -> dict[str, str]:
        """Name → what is predicted under it, to be recorded: files are replaced, and lists edited."""
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            found = pool.map(lambda place: recorded(place, self._infos.get(place)), self.files.values())
            return dict(zip(self.files, found, strict=True))

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.files)

    def pictures(self) -> Iterator[Picture]:
        """All of them, in the order in which they were found."""
        for name, place in self.files.items():
            yield Picture(name, place, partial(read_picture, place))


def find(images: str, out: str, every: int = 1) -> Images | video.Video:
    """What `predict` calls IMAGES: an image, a folder, a glob, a video, or a list (.txt) of paths and URIs.

    Args:
        images: path or URI.
        out: what lies in its labels/, overlays/ or probabilities/ is left out.
        every: only each of so many frames of a video.

    Raises:
        ValueError: there is nothing to predict.
    """
    check_scheme(images)
    if _is_folder(images):
        return _checked(_below(images, "**/*"), out, images)
    if _is_glob(images):
        return _checked(_matching(images), out, images)
    ending = _ending(images)
    if ending in video.ENDINGS:
        return video.Video(images, every)
    if ending == _LIST:
        return Images(names_of(_listed(images), None))
    if "://" in images and ending not in ENDINGS and not _on_the_web(images):
        return _checked(_below(images, "**/*"), out, images)
    if "://" not in images and not Path(images).exists():
        raise ValueError(f"no images in {images}: there is no such file or folder")
    return Images({posixpath.splitext(posixpath.basename(path_of(images)))[0] or "image": images})


def names_of(places: list[str], root: str | None) -> dict[str, str]:
    """A name for the results of each image → its path or URI; the same for the same list, and no two the same.

    A name is the path below `root`, or below the folder that holds them all, without ending; with it where two would
    clash; and with a digest of the whole where that is not enough (`a/1.jpg?x` and `a/1.jpg?y`).
    """
    places = list(dict.fromkeys(places))
    paths = [path_of(place) for place in places]
    above = path_of(root) if root else posixpath.commonpath([posixpath.dirname(path) for path in paths] or [""])
    choices = [_choices(path[len(above) :].lstrip("/"), place) for path, place in zip(paths, places, strict=True)]
    step = [0] * len(places)
    while True:
        names = [options[i] for options, i in zip(choices, step, strict=True)]
        count = Counter(names)
        if len(count) == len(names):
            return dict(zip(names, places, strict=True))
        step = [i + (count[name] > 1) for i, name in zip(step, names, strict=True)]


def _choices(path: str, place: str) -> tuple[str, ...]:
    """Names from the shortest to the one that is surely unique."""
    path = re.sub(r"[\x00-\x1f]", "_", path)
    stem, digest = posixpath.splitext(path)[0] or path, hashlib.sha256(place.encode()).hexdigest()
    if max(len(part.encode()) for part in path.split("/")) > _LONGEST:
        return digest[:16], digest[:32], digest
    return stem, path, f"{path}-{digest[:8]}", f"{path}-{digest}"


def path_of(place: str) -> str:
    """The path, absolute and without `..`; a URI's begins with its host or bucket, and lacks its options."""
    if "://" not in place:
        return Path(os.path.abspath(place)).as_posix()  # symbolic links keep their own names
    parts = urlsplit(place, allow_fragments=False)
    return posixpath.normpath(f"/{parts.netloc}/{posixpath.normpath('/' + unquote(parts.path)).lstrip('/')}")


def recorded(place: str, info: pafs.FileInfo | None = None) -> str:
    """The same for the same file from any folder, until that is replaced; of a URI's options, maybe keys, a digest.

    Args:
        place: path or URI. A web server's files are not asked about: what replaces one there is taken for the same.
        info: what is known of a store's file, which else is asked for.
    """
    if "://" not in place:
        return path_of(place) + _state(place)
    options = urlsplit(place, allow_fragments=False).query
    digest = f"?{hashlib.sha256(options.encode()).hexdigest()[:16]}" if options else ""
    state = "" if _on_the_web(place) else _state(place, info)
    return f"{place.partition('://')[0]}:/{path_of(place)}{digest}{state}"


def _state(place: str, info: pafs.FileInfo | None = None) -> str:
    """Size and time of a file; nothing of one that can't be seen."""
    try:
        if "://" in place:
            check_scheme(place)
            info = info or storage.info(place)
            size, time = info.size, info.mtime
        else:
            found = os.stat(place)
            size, time = found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
    except (OSError, ValueError):
        return ""
    return "" if time is None else f" ({size} bytes of {time:%Y-%m-%d %H:%M:%S.%f} UTC)"


def _on_the_web(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _ending(place: str) -> str:
    return posixpath.splitext(path_of(place))[1].lower()


def _is_folder(images: str) -> bool:
    return "://" not in images and Path(images).is_dir()


def _is_glob(images: str) -> bool:
    if "://" in images:
        return "*" in images.partition("?")[0]
    return glob.has_magic(images) and not Path(images).exists()


def _matching(pattern: str) -> tuple[str, dict[str, pafs.FileInfo | None]]:
    base, question, query = pattern.partition("?") if "://" in pattern else (pattern, "", "")
    folder = fixed_folder(base if "://" in base else re.split(r"[?[]", base)[0] + "*")
    return _below(f"{folder or '.'}{question}{query}", base[len(folder) :].lstrip("/"))


def _below(folder: str, pattern: str) -> tuple[str, dict[str, pafs.FileInfo | None]]:
    """A folder, and the images below it that match, sorted, with what a store's listing tells of them; what is hidden,
    or in a hidden folder, is none."""
    if "://" not in folder:
        below = [path for path in Path(folder).glob(pattern) if path.is_file()]
        found = [path.as_posix() for path in below if "/." not in f"/{path.relative_to(folder).as_posix()}"]
        return folder, dict.fromkeys(sorted(path for path in found if path.lower().endswith(ENDINGS)))
    if _on_the_web(folder):
        raise ValueError(f"images {folder}: a web server lists no files: give a list of addresses, one a line, as .txt")
    store = RawFolder(folder)
    found = sorted(store.infos(pattern).items())
    return folder, {store.uri(path): info for path, info in found if path.lower().endswith(ENDINGS)}


def _checked(found: tuple[str, dict[str, pafs.FileInfo | None]], out: str, images: str) -> Images:
    """Names, relative to the folder that was searched, of all that is no result of an earlier prediction."""
    folder, infos = found
    results = tuple(f"{path_of(out)}/{kind}/" for kind in RESULTS)
    places = [place for place in infos if not path_of(place).startswith(results)]
    if not places:
        raise ValueError(f"no images in {images}: name a folder with {', '.join(sorted(ENDINGS))} files")
    return Images(names_of(places, folder), infos)


def _listed(file: str) -> list[str]:
    """The paths (relative to the list's folder, not quoted in a store either) and URIs in a list; empty lines and those
    with # don't count."""
    try:
        with opened(file) as stream:
            text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"list {file}: it is not in UTF-8 ({error.reason} at byte {error.start}): save it so"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"list {file}: can't be read: {reason_of(error)}") from error
    lines = [line.strip() for line in text.splitlines()]
    places = [line for line in lines if line and not line.startswith("#")]
    if not places:
        raise ValueError(f"no images in {file}: write a path or URI a line")
    for place in places:
        _refuse_key(file, place)
    folder, _ = storage.split(file)
    named = quote if "://" in folder else str
    return [line if "://" in line else storage.join(folder, named(line)) for line in places]


def _refuse_key(file: str, place: str) -> None:
    """What is predicted is recorded, with the URI's host or bucket."""
    try:
        storage.refuse_key(place)
    except ValueError as error:
        raise ValueError(f"list {file}: {error}") from None
