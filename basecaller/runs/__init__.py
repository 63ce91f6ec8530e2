"""Runs: a config resolved, its folder, its training, and the trial of a sweep that it may work for."""
