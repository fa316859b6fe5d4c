"""What the recipes at 512 pixels share, trained and tested as published (Wei et al., CVPR 2024, section 4).

Tested with a short edge of 512, which is 1024×512 for Cityscapes; BDD100K as it is, at 1280×720.
"""

_base_ = "_base_.py"
model = dict(
    vfm=dict(weights="hub", img_size=512),
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
test = dict(short_edge=512, short_edge_of=dict(bdd100k=720))
