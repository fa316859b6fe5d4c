"""Rein on DINOv2-L, GTAV → real streets, as published (Wei et al., CVPR 2024): 64.3 mIoU over three domains.

Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train rein_dinov2_l_512 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_512.py"
name = "rein_dinov2_l_512"
model = dict(vfm=dict(name="dinov2_large"))
