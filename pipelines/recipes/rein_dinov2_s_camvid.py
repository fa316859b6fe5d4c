"""Rein on DINOv2-S, trained on CamVid's 480×360 frames: small enough for two CPU cores, and it generalises to IDD-lite."""

_base_ = "_base_.py"
name = "rein_dinov2_s_camvid"
model = dict(
    vfm=dict(name="dinov2_small", weights="hub", img_size=384),
    decode_head=dict(num_encoder_layers=2, num_decoder_layers=3, feat_channels=128),
    test_cfg=dict(mode="slide", crop_size=(384, 384), stride=(256, 256)),
)
data = dict(
    val_samples=40,
    augment=dict(short_edges=[288, 360, 432, 504, 576], max_size=1024, crop_size=(384, 384)),
)
train = dict(steps=400, batch_size=4, checkpoint_every=100)
test = dict(short_edge=384)
