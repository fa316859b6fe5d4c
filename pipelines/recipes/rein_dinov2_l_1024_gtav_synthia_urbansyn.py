"""Rein on DINOv2-L, three synthetic sources → real streets, at 1024 pixels.

Ingest gtav, synthia and urbansyn, and of cityscapes, bdd100k and mapillary `--split val`; then `python -m pipelines
train rein_dinov2_l_1024_gtav_synthia_urbansyn --set data.train=GTAV,SYNTHIA,URBANSYN
--set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
Sources are shuffled as one; `--set data.weights=[1,1,1]` draws from each equally often.
"""

_base_ = "_base_1024.py"
name = "rein_dinov2_l_1024_gtav_synthia_urbansyn"
model = dict(vfm=dict(name="dinov2_large"))
