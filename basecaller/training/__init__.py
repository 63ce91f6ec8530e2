"""Fit and validate a network: the loop, checkpoints, metrics. Knows nothing of Hydra or Optuna."""
