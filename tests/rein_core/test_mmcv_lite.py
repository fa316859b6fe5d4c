"""mmseg imports with mmcv-lite, a compiled op says what is missing, and a compiled mmcv is left alone."""

import subprocess
import sys

import pytest
import torch
from mmcv.ops import roi_align

from rein_core import mmcv_lite


def test_a_missing_op_says_what_to_do():
    with pytest.raises(NotImplementedError, match="install mmcv with its ops"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), 2)


def test_a_compiled_mmcv_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, mmcv_lite.NAME)
    monkeypatch.setattr(mmcv_lite.importlib.machinery.PathFinder, "find_spec", lambda *_: "compiled")
    mmcv_lite.install()
    assert mmcv_lite.NAME not in sys.modules
    monkeypatch.undo()
    assert isinstance(sys.modules[mmcv_lite.NAME], mmcv_lite.Stub)


def test_transformers_is_imported_when_it_is_asked_for_and_not_before():
    code = """
import sys
import rein_core
import mmseg.models, mmengine.optim
print([name for name in ("transformers", "peft") if name in sys.modules])
import transformers
print(transformers.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["[]", "transformers"], done.stderr
