"""Rein on MAE-L, GTAV → real streets, at 1024 pixels.

Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train rein_mae_l_1024 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_1024.py"
name = "rein_mae_l_1024"
model = dict(vfm=dict(name="mae_large"))
