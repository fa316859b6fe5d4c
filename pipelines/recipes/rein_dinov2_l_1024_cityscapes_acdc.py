"""Rein on DINOv2-L, Cityscapes → ACDC's fog, night, rain and snow, each a domain of its own, at 1024 pixels.

Ingest of cityscapes `--split train`, of acdc `--split fog_val`, `night_val`, `rain_val` and `snow_val`; then `python -m
pipelines train rein_dinov2_l_1024_cityscapes_acdc --set data.train=CITYSCAPES --set data.val=FOG,NIGHT,RAIN,SNOW`.
`evaluate` on the four also scores them together. ACDC is tested at 1920×1080, as by the authors.
"""

_base_ = "_base_1024.py"
name = "rein_dinov2_l_1024_cityscapes_acdc"
model = dict(vfm=dict(name="dinov2_large"))
test = dict(short_edge_of=dict(acdc_fog=1080, acdc_night=1080, acdc_rain=1080, acdc_snow=1080))
