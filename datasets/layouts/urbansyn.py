"""UrbanSyn (Gómez et al., 2023): rgb/rgb_0001.png and ss/ss_0001.png, which hold Cityscapes train ids and void 19."""

from datasets.labels import IGNORE, TRAIN_IDS
from datasets.layouts import Form, Layout

LAYOUT = Layout(
    name="urbansyn",
    forms=(Form(images=("rgb/rgb_*.png",), labels="ss/ss_*.png", ids=TRAIN_IDS | {19: IGNORE}),),
    licence="CC BY-SA 4.0",
    url="https://www.urbansyn.org",
    counts={"all": 7539},
    split_folders={"all": ""},
)
