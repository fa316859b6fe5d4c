"""DINOv2-S with a light head on small crops: an adapter makes most of the difference, and a run takes minutes."""

name = "light"
model = dict(
    vfm=dict(name="dinov2_small", img_size=320),
    adapter=dict(type="rein", link_queries=False),
    decode_head=dict(type="semantic_fpn", channels=64, dropout_ratio=0.1),
    test_cfg=dict(mode="whole"),
)
data = dict(
    augment=dict(short_edges=[320, 384, 448, 512], max_size=1024, crop_size=(320, 320)),
    val_samples=100,
)
optimizer = dict(weight_decay=0.05, poly_power=0.9)
train = dict(steps=400, batch_size=4, precision="bf16", checkpoint_every=100, log_every=20, pictures=1)
test = dict(short_edge=384)
