"""Ray Tune over the training pipeline: the search space, the search and its plots."""
