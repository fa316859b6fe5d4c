"""At what size a domain was tested, in words."""

from types import SimpleNamespace

import pytest

from pipelines.evaluation import resolution
from pipelines.scoring import Domain, Protocol

WINDOWS = Protocol(test_cfg={"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)})


@pytest.mark.parametrize(
    ("sizes", "short_edge", "words"),
    [
        (["1024×2048"], None, "as stored, 2048×1024"),
        (["1024×2048"], 512, "short edge 512, 1024×512"),
        (["720×1280", "1024×2048", "960×540", "600×800"], None, "as stored, 800×600 to 2048×1024"),
        (["720×1280", "1024×2048"], 512, "short edge 512"),
    ],
)
def test_images_of_one_size_and_of_several(sizes, short_edge, words):
    """The least and the largest by their pixels; as text 720×1280 is neither."""
    stored = SimpleNamespace(uri="somewhere", manifest=SimpleNamespace(sizes=dict.fromkeys(sizes, 1)))
    domain = Domain("streets", stored, [0], short_edge)
    assert resolution(domain, Protocol()) == words
    assert resolution(domain, WINDOWS) == f"{words}, windows of 512×512, stride 341"
