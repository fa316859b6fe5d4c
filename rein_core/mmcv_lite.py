"""Lets mmsegmentation be imported with mmcv-lite: a stand-in for the compiled `mmcv._ext` that raises when called.

And without transformers, which mmengine imports, and peft with it, to have an optimizer of theirs among its own: a
fifth of the time that a process takes to start.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import types

NAME = "mmcv._ext"


class Stub(types.ModuleType):
    """Has every function that mmcv asks for; each raises when it is called."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args, **_kwargs):
            raise NotImplementedError(
                f"mmcv.ops needs compiled mmcv for {name}: install mmcv with its ops, or choose a layer without them"
            )

        return missing


def install() -> None:
    """Puts the stub where `import mmcv._ext` finds it, unless a compiled mmcv is installed."""
    mmcv = importlib.util.find_spec("mmcv")
    if NAME in sys.modules or mmcv is None:
        return
    folders = list(mmcv.submodule_search_locations or [])
    if importlib.machinery.PathFinder.find_spec(NAME, folders) is None:
        sys.modules[NAME] = Stub(NAME)


def import_optimizers() -> None:
    """Imports mmengine's optimizers as where transformers is not installed, unless either has been imported before."""
    if "transformers" in sys.modules or importlib.util.find_spec("mmengine") is None:
        return
    sys.modules["transformers"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        importlib.import_module("mmengine.optim")
    finally:
        del sys.modules["transformers"]
