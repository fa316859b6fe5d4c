"""SoMA on DINOv2-L, GTAV → real streets, by its authors' settings (Yun et al., CVPR 2025), at half the rate in the VFM.

Trained as `rein_dinov2_l_512`; tested with a short edge of 1024, which is 2048×1024 for Cityscapes, by windows of 512.
Published there: 71.8 mIoU on Cityscapes, 61.3 on BDD100K as it is, 71.7 on Mapillary.

Ingest gtav, and of cityscapes, bdd100k and mapillary `--split val`; then
`python -m pipelines train soma_dinov2_l_512 --set data.train=GTAV --set data.val=CITYSCAPES,BDD100K,MAPILLARY`.
"""

_base_ = "_base_512.py"
name = "soma_dinov2_l_512"
model = dict(vfm=dict(name="dinov2_large"), adapter=dict(_delete_=True, type="soma", rank=16))
optimizer = dict(adapter_lr_factor=0.5, weight_decay_end=1e-5)
train = dict(ema_decay=0.9998, ema_begin=12_000)  # mmengine's EMAHook by default: momentum 0.0002
test = dict(short_edge=1024)
