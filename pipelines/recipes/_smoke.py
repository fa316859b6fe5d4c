"""What recipe NAME_smoke changes in recipe NAME, to run in a minute on two CPU cores.

A twin of its VFM with random weights, all blocks but one attention head wide; small head, few steps, small crops.
"""

model = dict(
    vfm=dict(weights=None, img_size=64, heads=1),
    adapter=dict(token_length=20, rank=4),
    decode_head=dict(feat_channels=32, num_encoder_layers=1, num_decoder_layers=2, loss=dict(num_points=64)),
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(42, 42)),
)
data = dict(val_samples=2, augment=dict(short_edges=[64, 96], max_size=512, crop_size=(64, 64)))
train = dict(steps=6, checkpoint_every=3, log_every=1, pictures=1)
test = dict(short_edge=64)
