"""Rein on DINOv2-L, Cityscapes → ACDC's fog, night, rain and snow, each a domain of its own, at 512 pixels.

Ingest of cityscapes `--split train`, of acdc `--split fog_val`, `night_val`, `rain_val` and `snow_val`; then `python -m
pipelines train rein_dinov2_l_512_cityscapes_acdc --set data.train=CITYSCAPES --set data.val=FOG,NIGHT,RAIN,SNOW`.
`evaluate` on the four also scores them together. ACDC is tested at 960×540, as by the authors.
"""

_base_ = "_base_512.py"
name = "rein_dinov2_l_512_cityscapes_acdc"
model = dict(vfm=dict(name="dinov2_large"))
test = dict(short_edge_of=dict(acdc_fog=540, acdc_night=540, acdc_rain=540, acdc_snow=540))
