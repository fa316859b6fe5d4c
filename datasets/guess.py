"""What a folder is that holds no shards, and what to do about it."""

from pathlib import Path

from datasets.layouts import get_layout, recognise
from datasets.parts import MANIFEST, unfinished
from datasets.raw_folder import RawFolder
from datasets.storage import listing


def describe(uri: str) -> str:
    """Says what lies there, and which command makes shards of it."""
    found = listing(uri)
    if not found:
        return "there is no such folder, or nothing in it; ingest writes one"
    return unfinished(uri) or _inside(uri, list(found)) or _raw(uri) or "it holds no shards, and no layout's files"


def _inside(uri: str, found: list[str]) -> str | None:
    shards = [] if "://" in uri else [str(Path(uri, name)) for name in found if Path(uri, name, MANIFEST).is_file()]
    return f"the shards are in {', '.join(shards)}" if shards else None


def _raw(uri: str) -> str | None:
    name = recognise(uri)
    if name is None:
        return None
    splits = get_layout(name).splits(RawFolder(uri))
    split = f" --split {'|'.join(splits)}" if len(splits) > 1 else ""
    return f"it looks like raw {name} data: python -m pipelines ingest {name} {uri} OUT{split}"
