"""Runs: a resolved config, its folder, its training, and the trial of a sweep that it may belong to."""
