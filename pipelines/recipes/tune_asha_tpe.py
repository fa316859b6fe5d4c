"""A search over Rein's settings and the learning rate: Optuna's TPE draws, ASHA stops two of three trials at a rung.

The best is trained at full length by `--retrain`.
"""

_base_ = "_base_512.py"
name = "tune_asha_tpe"
model = dict(vfm=dict(name="dinov2_large"))
data = dict(val_samples=200)
train = dict(validate_every=1_000)
tune = dict(
    sampler="tpe",
    scheduler="asha",
    num_trials=32,
    trial_steps=9_000,
    grace_steps=1_000,
    reduction_factor=3,
    token_length=[50, 75, 100, 125, 150, 200],
    rank=[4, 8, 16, 32, 64],
    lr_range=(3e-5, 1e-3),
    scale=[1e-4, 1e-3, 1e-2],
    layers=[None, list(range(12, 24)), list(range(0, 24, 2))],
)
