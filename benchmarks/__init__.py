"""Benchmarks, such as `python -m benchmarks.conclusions`. Each prints a table; `--json FILE` writes its rows."""
