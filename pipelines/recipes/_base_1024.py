"""What the recipes at 1024 pixels share, as published for them.

Tested with a short edge of 1024, which is 2048×1024 for Cityscapes. That BDD100K is tested as it is, at 1280×720, is
our choice.
"""

_base_ = "_base_.py"
model = dict(
    vfm=dict(weights="hub", img_size=1024),
    test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(683, 683)),
)
data = dict(
    augment=dict(
        short_edges=[int(102.4 * tenth) for tenth in range(5, 21)],
        max_size=4096,
        crop_size=(1024, 1024),
        cat_max_ratio=0.75,
    ),
)
optimizer = dict(lr=6e-5, warmup_steps=10_000)
train = dict(steps=40_000, batch_size=8, checkpoint_every=4_000)
test = dict(short_edge=1024, short_edge_of=dict(bdd100k=720))
