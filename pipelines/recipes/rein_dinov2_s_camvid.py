"""Rein on DINOv2-S and CamVid's 480×360 frames, cut down to two CPU cores; it generalises to IDD-lite."""

_base_ = "_base_.py"
name = "rein_dinov2_s_camvid"
model = dict(
    vfm=dict(name="dinov2_small", weights="hub", img_size=320),
    decode_head=dict(
        replace_query_feat=False,  # queries differ from the start, see the head
        feat_channels=128,
        num_encoder_layers=2,
        encoder_ffn_channels=512,
        num_decoder_layers=3,
        decoder_ffn_channels=512,
        loss=dict(num_points=4096),
    ),
    test_cfg=dict(mode="slide", crop_size=(384, 384), stride=(256, 256)),
)
data = dict(
    val_samples=20,
    augment=dict(short_edges=[320, 384, 448, 512], max_size=1024, crop_size=(320, 320)),
)
optimizer = dict(lr=1e-3)
train = dict(steps=400, batch_size=4, checkpoint_every=50)
test = dict(short_edge=384)
