"""What makes two trainings the same: their resolved configs, less the keys that cannot change a result, and the code."""

from __future__ import annotations

from typing import Any

from basecaller.hpo.identity import digest, without
from basecaller.runs.code_version import code_version

IGNORED = (
    "experiment",  # a name
    "output_dir",
    "storage",
    "plan",
    "search",  # how many workers, what comes after the stages
    "stage",  # its question and the factors that its other keys are made from
    "trial",
    "networks",  # what may be imported; the network's code is told by model.code
    "logger",
    "debug",  # what it sets is in other keys
    "print_config",
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


def run_id(config: dict[str, Any]) -> str:
    """The identity of one training: its resolved config, data, seed, and the code that trains."""
    return digest([without(config, IGNORED), code_version()])
