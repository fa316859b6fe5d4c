"""DINOv2-S with the small Mask2Former of `rein_dinov2_s_camvid`, whose queries Rein links to its tokens."""

_base_ = "../../../pipelines/recipes/rein_dinov2_s_camvid.py"
name = "mask2former"
data = dict(val_samples=100)
train = dict(steps=400, precision="bf16", checkpoint_every=100, log_every=20, pictures=1)
