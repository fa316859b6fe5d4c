"""Rein on EVA02-L, GTAV → real streets, at 1024 pixels.

Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train rein_eva02_l_1024 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_1024.py"
name = "rein_eva02_l_1024"
# as in the authors' configs; the VFM itself was pretrained with other values
model = dict(
    vfm=dict(name="eva02_large"),
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)
