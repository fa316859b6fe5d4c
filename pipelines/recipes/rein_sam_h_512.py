"""Rein on SAM-H, GTAV → real streets, at 512 pixels.

Of SAM's 32 blocks Rein refines the four that attend globally, as in the authors' released model.
Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train rein_sam_h_512 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_512.py"
name = "rein_sam_h_512"
model = dict(vfm=dict(name="sam_huge"), adapter=dict(layers=[7, 15, 23, 31]))
