"""tune_token_rank in about a minute on two CPU cores: four trials of the demo's tiny model, few steps, small crops."""

_base_ = "demo.py"
name = "tune_token_rank_smoke"
model = dict(vfm=dict(img_size=64), test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(42, 42)))
data = dict(val_samples=2, augment=dict(short_edges=[64, 96], max_size=512, crop_size=(64, 64)))
train = dict(steps=6, checkpoint_every=6, log_every=1, pictures=0)
test = dict(short_edge=64)
tune = dict(sampler="grid", scheduler=None, token_length=[10, 20], rank=[2, 4])
