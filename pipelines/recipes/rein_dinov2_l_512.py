"""Rein on DINOv2-L, GTAV → real streets, as published (Wei et al., CVPR 2024): 64.3 mIoU over three domains."""

_base_ = "_base_.py"
name = "rein_dinov2_l_512"
model = dict(
    vfm=dict(name="dinov2_large", weights="hub"),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
data = dict(
    augment=dict(
        short_edges=[int(51.2 * tenth) for tenth in range(5, 21)],
        max_size=2048,
        crop_size=(512, 512),
        cat_max_ratio=0.75,
    ),
)
train = dict(steps=40_000, batch_size=4, checkpoint_every=4_000)
test = dict(short_edge=512)
