"""Lets mmsegmentation be imported with mmcv-lite: a stand-in for the compiled `mmcv._ext` that raises when called."""

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
