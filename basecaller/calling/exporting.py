"""Exports a trained model as TorchScript or ONNX, and checks the exported one against the original on reads.

The file takes normalised signals, float32 [batch, samples], and gives log-probabilities, [batch, frames, labels]. It contains
the normalisation, direction, stride and letters that a program needs as `basecaller.json`; a file next to it, such as
`model.json`, has them too.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from basecaller import __version__
from basecaller.calling.files import signals
from basecaller.calling.model import Trained, load_model, split_of
from basecaller.calling.plain import LogProbabilities, Plain
from basecaller.common.errors import DataError, SettingError
from basecaller.common.files import check_writable, replacing, write_json
from basecaller.config.schema import EXPORTS, ExportOptions
from basecaller.data.pod5 import pod5_files
from basecaller.data.signal import CLIP, Normalisation
from basecaller.networks.base import Network
from basecaller.networks.decode import greedy
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.checkpoint import network_section

TOLERANCE = 1e-3
"""Largest allowed difference of a log-probability from the original's: operations in another order round differently."""

Exported = Callable[[np.ndarray], np.ndarray]
"""An exported model: signals to log-probabilities."""


@dataclass(frozen=True)
class Export:
    """An exported model, compared with the original.

    Attributes:
        file: its file.
        reads: number of reads that it was checked on.
        same_calls: number of these with the same call.
        difference: largest difference of a log-probability.
    """

    file: Path
    reads: int
    same_calls: int
    difference: float


def metadata(network: Network, by: Normalisation, rna: bool = False) -> dict[str, Any]:
    """The metadata that a program needs to use the model.

    Args:
        network: the model's network.
        by: how the signals are normalised.
        rna: whether signals are reversed.
    """
    return {
        "program": f"basecaller {__version__}",
        "alphabet": network.alphabet,
        "labels": ["blank", *network.alphabet],
        "stride": network.stride,
        "receptive_field": network.receptive_field,
        "normalisation": f"{by.formula} over the read, clipped to +-{CLIP:g}",
        "direction": "last sample first, since direct RNA runs from the 3' end" if rna else "as measured",
        "input": "float32 [batch, samples]",
        "output": "log-probabilities, float32 [batch, frames, labels], frames = ceil(samples / stride)",
        "model": network_section(network.settings),
    }


def some_signals(chosen: ExportOptions, model: Trained) -> list[np.ndarray]:
    """Normalised signals to check on."""
    if chosen.reads is not None:
        files = pod5_files(chosen.reads, "reads")
        found = (signal for file in files for _, signal in signals(file, Counter(), model.signals))
        return list(itertools.islice(found, chosen.limit))
    dataset, _ = split_of(model.data([]), "validation")
    return [np.asarray(dataset.chunk(i)[0], np.float32) for i in dataset.indices("validation")[: chosen.limit]]


def export(chosen: ExportOptions) -> Export:
    """Writes the model, and compares it with the original.

    Raises:
        DataError: the model or the reads cannot be used, a package is missing, or the exported model differs. No file is left.
    """
    if chosen.format == "onnx":
        _onnx_packages()  # before the work
    model = load_model(chosen.model, "cpu", chosen.networks)
    network = model.network
    target = Path(chosen.output) if chosen.output else model.folder / f"model.{EXPORTS[chosen.format]}"
    if target.is_dir():
        raise SettingError(f"output={target}: is a folder; give a file, such as {target / f'model.{EXPORTS[chosen.format]}'}")
    check_writable(target.parent)
    about, given = metadata(network, model.signals, model.rna), some_signals(chosen, model)
    if not given:
        raise DataError(f"reads={chosen.reads}: there is no read to check on")
    plain = (Plain(network) if isinstance(network, RawCTCNet) else LogProbabilities(network)).eval()
    example = torch.from_numpy(given[0])[None]
    with replacing(target) as partial, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        run = _onnx(plain, example, partial, about) if chosen.format == "onnx" else _torchscript(plain, example, partial, about)
        worst, same = 0.0, 0
        for signal in given:
            expected = network(torch.from_numpy(signal)[None]).log_softmax(2)[0].numpy()
            found = run(signal[None])[0]
            if found.shape != expected.shape:
                raise DataError(f"{target}: returns {found.shape} instead of {expected.shape}; it was not kept")
            worst = max(worst, float(np.abs(found - expected).max()))
            same += greedy(found.argmax(1), network.alphabet) == greedy(expected.argmax(1), network.alphabet)
        if worst > TOLERANCE:
            raise DataError(f"{target}: differs from the original by up to {worst:.2g} in a log-probability; it was not kept")
    write_json(target.with_suffix(".json"), about)
    return Export(target, len(given), same, worst)


def _torchscript(plain: nn.Module, example: Tensor, path: Path, told: dict[str, Any]) -> Exported:
    traced = torch.jit.freeze(torch.jit.trace(plain, example))
    path.write_bytes(traced.save_to_buffer(_extra_files={"basecaller.json": json.dumps(told)}))
    loaded = torch.jit.load(str(path))
    return lambda signal: loaded(torch.from_numpy(signal)).numpy()


def _onnx_packages() -> tuple[Any, Any]:
    """`onnx` and `onnxruntime`.

    Raises:
        DataError: one of them is not installed.
    """
    try:
        import onnx  # here: an optional extra
        import onnxruntime  # here: an optional extra
    except ImportError:
        raise DataError("format=onnx: needs onnx and onnxruntime: python -m pip install 'basecaller[export]'") from None
    return onnx, onnxruntime


def _onnx(plain: nn.Module, example: Tensor, path: Path, told: dict[str, Any]) -> Exported:
    onnx, onnxruntime = _onnx_packages()
    axes = {"signal": {0: "batch", 1: "samples"}, "log_probabilities": {0: "batch", 1: "frames"}}
    names: dict[str, Any] = {"input_names": ["signal"], "output_names": ["log_probabilities"], "dynamic_axes": axes}
    torch.onnx.export(plain, (example,), str(path), dynamo=False, **names)
    content = onnx.load(str(path))
    content.metadata_props.add(key="basecaller.json", value=json.dumps(told))
    onnx.save(content, str(path))
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda signal: session.run(None, {"signal": signal})[0]
