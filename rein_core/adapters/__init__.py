"""Adapters by name: what is trained inside or beside a frozen VFM. Each has `refine(feat, layer)` and `queries()`."""

import difflib
import inspect

from torch import nn

from rein_core.adapters.none import Frozen
from rein_core.rein import Rein

ADAPTERS: dict[str, type[nn.Module]] = {"none": Frozen, "rein": Rein}


def build_adapter(settings: dict, **vfm: int) -> nn.Module:
    """The adapter that `settings["type"]` names, with its other settings.

    Args:
        vfm: what follows from the VFM: `num_layers`, `embed_dims`, `patch_size`; and the head's `query_dims`.

    Raises:
        ValueError: an unknown adapter or setting, with the nearest valid one.
    """
    settings = dict(settings)
    kind = settings.pop("type", "none")
    if kind not in ADAPTERS:
        raise ValueError(f"model.adapter.type={kind!r}: {_nearest(kind, list(ADAPTERS))}")
    known = inspect.signature(ADAPTERS[kind]).parameters
    for key in settings:
        if key not in known or key in vfm:
            raise ValueError(
                f"model.adapter: {kind} has no setting {key!r}: {_nearest(key, list(set(known) - set(vfm)))}"
            )
    return ADAPTERS[kind](**{key: value for key, value in vfm.items() if key in known}, **settings)


def _nearest(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(sorted(known)) or 'none'}"
