"""The version of the training code: a digest of all code that decides a training's numbers, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path

from basecaller.common.source_code import meaning

TRAINING_CODE = (
    "common/geometry.py",
    "networks/rawctcnet.py",
    "networks/tower.py",
    "networks/base.py",
    "networks/adapted.py",
    "networks/named.py:_made",
    "networks/masking.py",
    "networks/decode.py",
    "training/metrics.py",
    "data/batches.py",
    "data/dataset.py",
    "data/mixture.py",
    "training/batch_plan.py",
    "training/fit.py",
    "training/engine.py",
    "training/optim.py",
    "training/evaluate.py",
    "training/checkpoint.py:start_from",
    "training/device.py:autocast_type",
    "runs/training.py:_fit",
    "native/build.py",  # its flags
    "native/step.py",
    "native/step.c",
    "native/block.h",
    "native/ctc.h",
)
"""Files of the package, or functions in them, that decide a training's result. `tests/runs/test_code_version.py` fails if one
of them uses a module that is neither listed here nor known to have no influence."""

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
"""A comment in C."""


@cache
def code_version() -> str:
    """Digest of the training code, ten hex digits; results of other code are not reused."""
    package = Path(__file__).resolve().parents[1]
    parts = []
    for entry in TRAINING_CODE:
        file, _, function = entry.partition(":")
        text = (package / file).read_text(encoding="utf-8")
        parts.append(meaning(text, function) if file.endswith(".py") else COMMENT.sub("", text).split())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]
