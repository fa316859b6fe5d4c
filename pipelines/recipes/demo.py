"""The demo: a tiny VFM with random weights on procedural streets, a few minutes on two CPU cores.

Random frozen features show that everything runs, not what Rein can do: for that give a VFM real weights.
"""

_base_ = "_base_.py"
name = "demo"
model = dict(
    vfm=dict(name="vit_tiny", weights=None, img_size=256),
    adapter=dict(token_length=40, rank=8),
    decode_head=dict(
        replace_query_feat=False,  # queries differ from the start, see the head
        feat_channels=64,
        num_encoder_layers=1,
        encoder_ffn_channels=128,
        num_decoder_layers=2,
        decoder_ffn_channels=256,
        loss=dict(num_points=1024),
    ),
    test_cfg=dict(mode="slide", crop_size=(256, 256), stride=(170, 170)),
)
data = dict(
    augment=dict(short_edges=[224, 256, 320], max_size=1024, crop_size=(256, 256)),
    val_samples=12,
)
optimizer = dict(lr=1e-3)
train = dict(steps=400, batch_size=4, checkpoint_every=100, log_every=20, pictures=2)
test = dict(short_edge=256)
tune = dict(token_length=[20, 40], rank=[4, 8], num_trials=2, grace_steps=20)
