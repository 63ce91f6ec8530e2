"""basecaller: staged hyperparameter search for nanopore basecallers."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other; on cores that something else uses too, that makes a training ten to
# forty times slower. libgomp reads this once, when PyTorch loads it; this file is what every process reads before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
