"""Rein on DINOv2-S, GTAV → real streets, at 1024 pixels.

Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train rein_dinov2_s_1024 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_1024.py"
name = "rein_dinov2_s_1024"
model = dict(vfm=dict(name="dinov2_small"))
