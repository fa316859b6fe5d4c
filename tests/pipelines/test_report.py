"""Pictures: classes in their colours, with a legend."""

import numpy as np
import pytest

from datasets.labels import CITYSCAPES, IGNORE
from pipelines.report import colorize, legend, overlay, panel


@pytest.mark.parametrize("size", [(64, 128), (360, 480), (700, 300)])
def test_pictures_show_the_classes_in_their_colours(size):
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 13
    image = np.full((*size, 3), 100, np.uint8)
    assert colorize(labels, CITYSCAPES)[0, -1].tolist() == [0, 0, 142]
    drawn = panel(image, labels, labels, CITYSCAPES)
    assert drawn.shape[1] == 3 * 480 and drawn.dtype == np.uint8
    key = legend(CITYSCAPES, np.array([0, 13]), 480)
    assert (key == [0, 0, 142]).all(axis=2).any() and not (key == [220, 20, 60]).all(axis=2).any()
    ignored = np.full(size, IGNORE, np.uint8)
    assert np.array_equal(overlay(image, ignored, CITYSCAPES), image)
