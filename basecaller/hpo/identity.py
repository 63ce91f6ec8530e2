"""What makes two configurations the same: digests of resolved configs, less the keys that cannot change a result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from basecaller.hpo.code_version import code_version

IGNORED = (
    "experiment",  # a name
    "output_dir",
    "storage",
    "plan",
    "search",  # how many workers, what comes after the stages
    "stage",  # its question and the factors that its other keys are made from
    "trial",
    "networks",  # what may be imported; the network's code is told by model.code
    "device",
    "threads",
    "train.resume",
    "train.init",  # what it holds is told by train.init_digest
    "data.folder",
    # what the files hold is told by data.fingerprint, wherever they lie
    "data.pod5",
    "data.bam",
    "data.reference",
    "data.path",
    "data.signals",
    "data.sequences",
    "data.sources",
    "data.test",
    "data.pore_model",  # for the audit
    "model.name",
)
"""Keys that do not change a training's result; they stay out of run ids and study contexts."""


def digest(content: Any, length: int = 10) -> str:
    """Short hash of plain values, the same for equal content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]


def without(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """A copy of a nested dict less some dotted keys."""
    copy = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
    for key in keys:
        *parents, last = key.split(".")
        node = copy
        for parent in parents:
            below = node.get(parent)
            if not isinstance(below, dict):
                break
            node[parent] = node = dict(below)
        else:
            node.pop(last, None)
    return copy


def run_id(config: dict[str, Any]) -> str:
    """The identity of one training: its resolved config, data, seed, and the code that trains."""
    return digest([without(config, IGNORED), code_version()])
