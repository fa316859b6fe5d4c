"""Files behind a URI, downloaded once into a local cache: https://, s3://, gs:// and whatever else fsspec knows."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
import torch
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

_CHECKSUMS = ("etag", "content-md5", "md5hash", "generation")
_TIMES = ("lastmodified", "last-modified", "last_modified", "updated", "mtime", "created")
"""Under which names file systems say that a file has changed; sums count before times."""


def local_copy(uri: str) -> Path:
    """The file behind a URI, on this machine; one behind file:// is where it is, if it is there.

    It is downloaded if the cache does not have it as the remote now does (its sum or time, and its size). A download
    appears whole or not at all, and processes that want the same file wait for the first.

    Raises:
        ValueError: an unknown scheme, a package that is missing, or no such file there; with the URI, the reason and
            the mend.
    """
    with _explained(uri):
        files, path = fsspec.url_to_fs(uri, **_options(uri))
        if isinstance(files, LocalFileSystem):
            return Path(path)
        files.invalidate_cache()
        info = files.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError("it is a folder")
        target = cache_folder() / _key(uri, info) / PurePosixPath(urlsplit(path).path).name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.parent / ".lock"):
                if not target.is_file():
                    _download(uri, files, path, info.get("size"), target)
        return target


def cache_folder() -> Path:
    """Beside torch.hub's own downloads; TORCH_HOME moves both."""
    return Path(torch.hub.get_dir()) / "rein"


def _key(uri: str, info: dict[str, Any]) -> str:
    known = {name.lower(): str(value) for name, value in info.items() if value is not None}
    marks = [known[name] for name in _CHECKSUMS if name in known] or [known[name] for name in _TIMES if name in known]
    return hashlib.sha256("\n".join([uri, *marks, known.get("size", "")]).encode()).hexdigest()[:16]


def _download(uri: str, files: fsspec.AbstractFileSystem, path: str, size: int | None, target: Path) -> None:
    sys.stderr.write(f"downloading {uri}{f' ({size / 2**20:.0f} MiB)' if size else ''} to {target}\n")
    partial = target.with_name(f"{target.name}.partial")
    try:
        files.get_file(path, str(partial))
        came = partial.stat().st_size
        if size is not None and came != size:
            raise OSError(f"{came} of {size} bytes came")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _options(uri: str) -> dict[str, Any]:
    """aiohttp gives up after five minutes in all, and overlooks proxies, unless it is told otherwise."""
    if not uri.startswith(("http://", "https://")):
        return {}
    import aiohttp  # other schemes do without

    patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    return {"client_kwargs": {"timeout": patience, "trust_env": True}}


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line for the user; a remote's reason is often the cause of an error."""
    scheme = uri.partition("://")[0]
    try:
        yield
    except ImportError as error:
        package = error.name or getattr(error.__cause__, "name", None)
        raise ValueError(
            f"model.vfm.weights: {scheme}:// needs the package {package}: pip install {package}"
        ) from error
    except Exception as error:
        if scheme not in fsspec.available_protocols():
            raise ValueError(
                f"model.vfm.weights: {uri}: nothing reads {scheme}://: use https://, s3://, gs://, file:// or a path"
            ) from error
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ValueError(
            f"model.vfm.weights: {uri} can't be fetched ({reason}): check the address, the network and the "
            "credentials, or name a local file, --set model.vfm.weights=PATH"
        ) from error
