"""`basecaller evaluate`: how good a model's basecalls are, on a data set or against a reference.

On a data set it also fits the qualities that `basecaller basecall` writes: on validation, never on the split it reports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from basecaller.calling.caller import Caller
from basecaller.calling.evaluating import Tally, evaluate_chunks, evaluate_reads
from basecaller.calling.files import signals
from basecaller.calling.model import load_model, split_of
from basecaller.calling.quality import Calibration, calibrate, quality_facts
from basecaller.commandline import arguments, as_typed, options
from basecaller.data.dataset import Dataset
from basecaller.data.pod5 import pod5_files
from basecaller.entry import as_message
from basecaller.errors import SettingError
from basecaller.files import check_writable, replacing, write_json
from basecaller.schema import EvaluateOptions
from basecaller.training.fit import choose
from basecaller.workers import cores

SHOWN = (
    ("identity_mean", "identity, mean", ".2%"), ("identity_median", "identity, median", ".2%"),
    ("identity_floor", "identity of unrelated sequences", ".2%"), ("mismatch_rate", "mismatches", ".2%"),
    ("insertion_rate", "insertions", ".2%"), ("deletion_rate", "deletions", ".2%"),
    ("length_ratio", "called over true length", ".3f"), ("blank_fraction", "frames called blank", ".1%"),
    ("loss", "loss, nats per base", ".4f"), ("read_coverage_mean", "share of a read that aligns", ".1%"),
    ("quality_error", "written qualities off by, phred", ".2f"),
)  # fmt: skip
"""Numbers of an evaluation, what they are called, and how they are written."""


def own_and_data(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The overrides that are this command's own, and those that choose the data set."""
    own = {f.name for f in fields(EvaluateOptions)}
    mine = [line for line in overrides if line.partition("=")[0] in own]
    return mine, [line for line in overrides if line not in mine]


def evaluate(chosen: EvaluateOptions, overrides: list[str]) -> dict[str, Any]:
    """Evaluates a model, and writes `evaluation.json` and its figure.

    Returns:
        What is in the file.
    Raises:
        BasecallerError: the model, the data or a setting cannot be used.
    """
    if (chosen.reads is None) != (chosen.reference is None):
        raise SettingError("reads and reference: give both, or neither to evaluate on a data set")
    torch.set_num_threads(chosen.threads or cores())
    model = load_model(chosen.model, chosen.device, chosen.networks)
    folder, network, calibration = model.folder, model.network, model.calibration or Calibration()
    output = _output(chosen, folder)
    decoder: Any = chosen.decoder
    if chosen.reads is not None and chosen.reference is not None:
        caller = Caller(network, None, 16, decoder)
        counts = Counter[str]()
        files = pod5_files(chosen.reads, "reads")
        calls = (call for file in files for call in caller.calls(signals(file, counts, model.rna)))
        facts, tally = evaluate_reads(calls, Path(chosen.reference))
        facts = {"model": str(folder), "reads_from": chosen.reads, "reference": chosen.reference, "decoder": decoder, **facts}
    else:
        data = model.data(overrides)

        def evaluated(split: str) -> tuple[Dataset, dict[str, Any], Tally]:
            dataset, name = split_of(data, split)
            indices = choose(dataset, name, None, network.stride, 1.0)
            if chosen.limit is not None:
                indices = np.random.default_rng(0).permutation(indices)[: chosen.limit]
            return dataset, *evaluate_chunks(network, dataset, indices, decoder)

        dataset, facts, tally = evaluated(chosen.split)
        facts = {"model": str(folder), "data": str(dataset.folder), "split": chosen.split, "decoder": decoder, **facts}
        if chosen.split != "validation":
            _, _, held = evaluated("validation")
            facts["calibration"] = calibrate(held.quality)
            calibration = Calibration.of(facts["calibration"])
            if not overrides:  # on the data that it was trained for
                write_json((output if chosen.output else folder) / "calibration.json", facts["calibration"])
    facts |= quality_facts(tally.quality, calibration)
    write_json(output / "evaluation.json", facts)
    draw(facts, output / "evaluation.png")
    return facts | {"output": str(output)}


def _output(chosen: EvaluateOptions, model: Path) -> Path:
    """The folder for all that is written, made now: not to be able to write is known before the work.

    Raises:
        SettingError: it would be the model's, which cannot be written to; OSError: it is another, which cannot be.
    """
    output = Path(chosen.output) if chosen.output else model / "evaluation"
    try:
        check_writable(output)
        if not chosen.output:
            check_writable(model)
    except OSError as error:
        if chosen.output:
            raise
        raise SettingError(f"model={model}: its folder cannot be written to ({error.strerror}); give output=FOLDER") from error
    return output


def draw(facts: dict[str, Any], path: Path) -> None:
    """The histogram of identities, qualities against observed errors, and homopolymers."""
    from matplotlib.figure import Figure  # here: it would add a fifth to the time that the command takes to start

    figure = Figure(figsize=(13.2, 3.4), layout="constrained")
    identity, quality, homopolymer = figure.subplots(1, 3)
    identity.hist(facts["identities"], bins=np.linspace(0, 1, 51), color="#0072B2")
    identity.set(xlabel="identity", ylabel="reads" if "reads" in facts else "chunks")
    raw, written, observed = ([each[key] for each in facts["qualities"]] for key in ("raw", "written", "observed"))
    quality.plot(raw, observed, "o", markersize=4, color="#0072B2", label="observed here")
    quality.plot(raw, written, color="#D55E00", label="written to FASTQ")
    quality.plot(raw, raw, ":", color="#999999", label="the network's own")
    quality.set(xlabel="quality by the network's probability (phred)", ylabel="quality (phred)")
    quality.legend(frameon=False)
    runs = facts["homopolymers"]
    homopolymer.bar([each["length"] for each in runs], [each["correct"] for each in runs], color="#0072B2")
    homopolymer.set(xlabel="homopolymer length (8: and longer)", ylabel="called with their length", ylim=(0, 1))
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def render(facts: dict[str, Any], console: Console) -> None:
    """The numbers as tables."""
    of = f"{facts['split']} split of {facts['data']}" if "split" in facts else f"{facts['reads_from']}, {facts['reference']}"
    table = Table("", f"{facts['decoder']}", title=f"{facts['model']}, {of}", title_justify="left")
    for key in ("chunks", "reads", "aligned", "bases"):
        if key in facts:
            table.add_row(key, f"{facts[key]:,}")
    for key, name, form in SHOWN:
        if key in facts:
            table.add_row(name, format(facts[key], form))
    console.print(table)
    if facts["homopolymers"]:
        runs = Table("homopolymer", *(str(each["length"]) for each in facts["homopolymers"]))
        runs.add_row("how many", *(f"{each['count']:,}" for each in facts["homopolymers"]))
        runs.add_row("called with their length", *(f"{each['correct']:.1%}" for each in facts["homopolymers"]))
        console.print(runs)
    definition = (
        "Identity by Bonito's definition: matches over the columns of a local alignment (gap open 8, extend 4), 0 where less "
        "than half of the chunk aligns." if "chunks" in facts else
        "Identity: matches over the columns of minimap2's best alignment of each read; reads that do not align are left out."
    )  # fmt: skip
    console.print(definition)
    if facts["length_ratio"] == 0 and not facts.get("bases" if "reads_from" in facts else "aligned"):
        console.print(f"{facts['model']} calls nothing but blanks: it has learned nothing; train it longer", style="bold")
    console.print(f"in {facts['output']}")


@as_message
def main() -> None:
    own, data = own_and_data(arguments("evaluate"))
    render(evaluate(options("evaluate", own, EvaluateOptions), as_typed(data)), Console(highlight=False))


if __name__ == "__main__":
    main()
