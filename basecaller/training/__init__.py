"""Fits and validates a network: the loop, checkpoints, metrics. Does not use Hydra or Optuna."""
