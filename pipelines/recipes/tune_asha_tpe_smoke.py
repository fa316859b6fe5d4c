"""tune_asha_tpe in about a minute on two CPU cores: four trials of the demo's tiny model, few steps, small crops."""

_base_ = "demo.py"
name = "tune_asha_tpe_smoke"
model = dict(vfm=dict(img_size=64), test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(42, 42)))
data = dict(val_samples=2, augment=dict(short_edges=[64, 96], max_size=512, crop_size=(64, 64)))
train = dict(steps=12, validate_every=3, checkpoint_every=12, log_every=1, pictures=0)
test = dict(short_edge=64)
tune = dict(
    sampler="tpe",
    scheduler="asha",
    num_trials=4,
    trial_steps=9,
    grace_steps=3,
    reduction_factor=3,
    token_length=[5, 10, 20],
    rank=[2, 4],
    lr_range=(3e-4, 3e-3),
    scale=[1e-3, 1e-2],
    layers=[None, [6, 7, 8, 9, 10, 11]],
)
