"""What all of Rein's recipes share: the paper's optimiser, head and adapter (Wei et al., CVPR 2024, section 4)."""

model = dict(
    vfm=dict(patch_size=16, img_size=512, resample="bicubic"),
    adapter=dict(type="rein", token_length=100, rank=16, link_queries=True),
    decode_head=dict(type="ReinMask2FormerHead", num_classes=19, num_queries=100, feat_channels=256),
)
optimizer = dict(lr=1e-4, weight_decay=0.05, poly_power=0.9)
