"""A raw data set's folder, on a disk or in an object store: what lies in it, and the files' bytes."""

import posixpath
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs as pafs

from datasets.storage import filesystem, open_uri

_WILDCARD = r"\*\*/|\*"


def read_bytes(uri: str, what: str) -> bytes:
    """A file's bytes, from a path or URI. `what` is its name in the ValueError that says it isn't there.

    Raises:
        ValueError: there is no such file.
        OSError: it can't be read now: a disk or a store that fails, or no permission.
    """
    try:
        if "://" not in uri:
            return Path(uri).read_bytes()
        with open_uri(uri) as stream:
            return stream.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"no {what}: {uri} ({error.strerror or error})") from error


def fixed_folder(glob: str) -> str:
    """The part of a glob before its first wildcard, without the last name: what has to be listed."""
    return posixpath.dirname(glob.partition("*")[0])


class Unready(ValueError):
    """The files are those of a layout, but something has to be done first; the message says what."""


class SeveralFiles(Unready):
    """Two files stand for one sample, so its label could belong to either."""


class RawFolder:
    """Lists a folder. All paths in and out are relative to it and have forward slashes, on Windows too.

    Args:
        uri: a path (with slashes of either kind), s3:// or gs:// URI.
    """

    def __init__(self, uri: str):
        if "\\" in uri and not Path(uri).exists():
            uri = uri.replace("\\", "/")
        if "://" in uri:
            self.fs, self.root = filesystem(uri)
            self.base, _, query = uri.partition("?")
            self.base, self.query = self.base.rstrip("/"), f"?{query}" if query else ""
        else:
            self.fs, self.root = pafs.LocalFileSystem(), Path(uri).resolve().as_posix()
            self.base, self.query = self.root.rstrip("/"), ""
        self.root = self.root.rstrip("/")

    @property
    def name(self) -> str:
        """The folder's own name."""
        return posixpath.basename(self.root)

    def uri(self, path: str) -> str:
        """The full path or URI of a file in the folder."""
        return f"{self.base}/{self._quoted(path)}{self.query}"

    def at(self, path: str) -> "RawFolder":
        """A folder below this one, or "..", the one above (of a whole bucket: itself)."""
        if path != "..":
            return RawFolder(self.uri(path))
        above = posixpath.dirname(self.base)
        return self if above.endswith(":/") else RawFolder(f"{above or '/'}{self.query}")

    def is_folder(self, path: str = "") -> bool:
        """Whether there is such a folder."""
        return self.fs.get_file_info(self._full(path)).type == pafs.FileType.Directory

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.fs.get_file_info(self._full(path)).type == pafs.FileType.File

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders in a folder that may be missing."""
        return sorted(info.base_name for info in self._list(path, False) if info.type == pafs.FileType.Directory)

    def match(self, globs: tuple[str, ...]) -> dict[tuple[str, ...], str]:
        """Files that match: what the wildcards stand for → path.

        Nothing hidden matches: ._NAME, which macOS leaves beside NAME in archives, .ipynb_checkpoints, .Trash-1000.

        Raises:
            SeveralFiles: in two files, found by two of the globs, the wildcards stand for the same.
        """
        found: dict[tuple[str, ...], str] = {}
        twice = []
        for glob in globs:
            for path in self.infos(glob):
                first = found.setdefault(_pattern(glob).fullmatch(path).groups(), path)
                twice += [(first, path)] if first != path else []
        if twice:
            raise SeveralFiles(self._why_not_both(*min(twice), len(twice) - 1))
        return found

    def infos(self, glob: str) -> dict[str, pafs.FileInfo]:
        """Files that match, as in `match`: path → what the listing tells of it, size and time among that."""
        folder, found = fixed_folder(glob), {}
        deep = "/" in glob[len(folder) + 1 if folder else 0 :]
        for info in self._list(folder, deep):
            path = info.path[len(self.root) + 1 :]
            if info.type == pafs.FileType.File and "/." not in f"/{path}" and _pattern(glob).fullmatch(path):
                found[path] = info
        return found

    def _why_not_both(self, first: str, second: str, more: int) -> str:
        return (
            f"{self.uri(first)} and {self.uri(second)} stand for one sample, so its label could belong to either"
            f"{f' (and {more} more such cases)' if more else ''}: move one of them out of the folder, or name globs "
            "that match only one, in a rein.yaml (datasets/layouts/folder.py)"
        )

    def _list(self, path: str, recursive: bool) -> list[pafs.FileInfo]:
        return self.fs.get_file_info(pafs.FileSelector(self._full(path), allow_not_found=True, recursive=recursive))

    def _quoted(self, path: str) -> str:
        return quote(path) if "://" in self.base else path

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/") or "/"


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern:
    """A glob as a regular expression with one group a wildcard: `*` stays in a folder, `**/` is any folders."""
    wild = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in re.split(f"({_WILDCARD})", glob)))


def wildcards(glob: str) -> list[str]:
    """The wildcards in a glob, in order."""
    return re.findall(_WILDCARD, glob)


def fill(glob: str, key: tuple[str, ...]) -> str:
    """The path that a glob stands for with `key` in place of its wildcards."""
    parts = iter(key)
    return re.sub(_WILDCARD, lambda _: next(parts), glob)
