"""The run id: the fingerprint of a training, by its resolved config without the keys that cannot change a result, and by the
code."""

from __future__ import annotations

from typing import Any

from basecaller.common.nested import digest, without
from basecaller.runs.code_version import code_version

IGNORED = (
    "experiment",  # a name
    "output_dir",
    "storage",
    "plan",
    "search",  # number of workers, and what follows the stages
    "stage",  # its question, and factors that other keys are computed from
    "trial",
    "networks",  # modules that may be imported; model.code identifies the network's code
    "logger",
    "debug",  # it sets other keys
    "print_config",
    "device",
    "threads",
    "train.resume",
    "train.init",  # train.init_digest identifies its content
    "data.folder",
    # data.fingerprint identifies the content of the files, wherever they are, and the normalisation of their signals
    "data.normalisation",
    "data.mean",
    "data.stdev",
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
    """The fingerprint of a training, ten hex digits: a digest of its resolved config, data, seed, and the training code."""
    return digest([without(config, IGNORED), code_version()])
