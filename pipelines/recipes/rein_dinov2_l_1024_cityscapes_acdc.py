"""Rein on DINOv2-L, Cityscapes → ACDC's fog, night, rain and snow, each a domain of its own, at 1024 pixels.

Ingest of cityscapes `--split train`, of acdc `--split fog_val`, `night_val`, `rain_val` and `snow_val`; then `python -m
pipelines train rein_dinov2_l_1024_cityscapes_acdc --set data.train=CITYSCAPES --set data.val=FOG,NIGHT,RAIN,SNOW`.
`evaluate` on the four also scores them together. Short edge 1024 for ACDC's 1920×1080 is our choice.
"""

_base_ = "_base_1024.py"
name = "rein_dinov2_l_1024_cityscapes_acdc"
model = dict(vfm=dict(name="dinov2_large"))
