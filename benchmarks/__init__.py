"""Measurements: `python -m benchmarks.conclusions`. Each prints a table; `--json FILE` writes the same rows."""
