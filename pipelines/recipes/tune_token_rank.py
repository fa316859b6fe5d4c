"""Rein's token length × rank, all thirty at full length (Wei et al., CVPR 2024, tables 8 and 9)."""

_base_ = "_base_512.py"
name = "tune_token_rank"
model = dict(vfm=dict(name="dinov2_large"))
data = dict(val_samples=200)
tune = dict(
    sampler="grid",
    scheduler=None,
    token_length=[50, 75, 100, 125, 150, 200],
    rank=[4, 8, 16, 32, 64],
)
