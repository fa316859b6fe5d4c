"""IDD-lite (Mishra et al., 2019) in 7 groups: leftImg8bit/SPLIT/SEQ/ID_image.jpg, gtFine/SPLIT/SEQ/ID_label.png."""

from datasets.labels import IDD_LITE, IGNORE
from datasets.layouts import Form, Layout

LAYOUT = Layout(
    name="idd_lite",
    forms=(
        Form(
            images=("leftImg8bit/{split}/*/*_image.jpg",),
            labels="gtFine/{split}/*/*_label.png",
            ids={group: group for group in range(7)} | {255: IGNORE},
            skip="_inst_label.png",  # instances lie beside the classes
        ),
    ),
    licence="research, not commercial; after registration",
    url="https://idd.insaan.iiit.ac.in",
    counts={"train": 1403, "val": 204},
    label_space=IDD_LITE,
)
