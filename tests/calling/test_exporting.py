"""Exported models: the plain network that they contain, and their calls."""

from __future__ import annotations

import json
import sys
import warnings

import pytest
import torch

from basecaller.calling.exporting import metadata
from basecaller.calling.plain import Plain
from basecaller.data.signal import BY_MEDIAN_MAD, Normalisation
from tests.conftest import Command
from tests.helpers.models import network
from tests.helpers.reads import make_source


@pytest.mark.parametrize(("batch_norm", "projection"), [(False, False), (True, True)])
def test_the_plain_network_computes_the_same(batch_norm, projection):
    made = network(batch_norm=batch_norm, projection=projection)
    signal = torch.randn(3, 403)
    with torch.inference_mode():
        torch.testing.assert_close(Plain(made).eval()(signal), made(signal).log_softmax(2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_an_exported_model_gives_the_same_calls(model, tmp_path, run: Command, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    make_source(tmp_path / "reads", count=4)
    told = run("export", f"model={model}", f"format={kind}", "reads=reads", f"output=out.{kind}")
    assert "the same calls for 4 of 4 reads" in told.stdout
    meta = json.loads((tmp_path / "out.json").read_text())
    assert (meta["alphabet"], meta["stride"]) == ("ACGT", 4)
    if kind == "torchscript":
        extra = {"basecaller.json": ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
            torch.jit.load(str(tmp_path / "out.torchscript"), _extra_files=extra)
        assert json.loads(extra["basecaller.json"]) == meta


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["output=folder"], "output=folder: is a folder; give a file, such as folder/model.pt"),
        (["output=/proc/x/model.pt"], "/proc/x: No such file or directory"),
        (["format=onnx"], "format=onnx: needs onnx and onnxruntime"),
    ],
)
def test_what_an_export_lacks_is_found_before_reads_are_prepared(model, folder, call: Command, monkeypatch, wrong, words):
    (folder / "folder").mkdir()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    monkeypatch.setattr("basecaller.calling.exporting.some_signals", lambda *of: pytest.fail("reads were prepared"))
    assert words in call("export", f"model={model}", *wrong, code=2).stderr


def test_an_exported_model_of_rna_tells_that_signals_are_reversed():
    assert metadata(network(), BY_MEDIAN_MAD, rna=True)["direction"].startswith("last sample first")
    assert metadata(network(), BY_MEDIAN_MAD)["direction"] == "as measured"
    constants = Normalisation(normalisation="standardise", mean=93.7, stdev=23.5)
    assert metadata(network(), constants)["normalisation"].startswith("(x - 93.7) / 23.5, x in pA")
