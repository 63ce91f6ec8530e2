"""Tests. The package is imported before PyTorch, since it keeps PyTorch's threads from spinning while they wait."""

import basecaller  # noqa: F401
