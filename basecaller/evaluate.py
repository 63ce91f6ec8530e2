"""`basecaller evaluate`: the quality of a model's basecalls, on a data set or against a reference.

On a data set it also calibrates the qualities that `basecaller basecall` writes.
"""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from basecaller.calling.evaluation import Evaluation, evaluate
from basecaller.cli.arguments import arguments, as_typed, options
from basecaller.cli.entry import as_message
from basecaller.cli.keys import own_and_others
from basecaller.common.errors import SettingError
from basecaller.config.schema import EvaluateOptions
from basecaller.training.scores import ReadScores

SHOWN = (
    ("identity_mean", "identity, mean", ".2%"),
    ("identity_median", "identity, median", ".2%"),
    ("identity_floor", "identity of unrelated sequences", ".2%"),
    ("mismatch_rate", "mismatches", ".2%"),
    ("insertion_rate", "insertions", ".2%"),
    ("deletion_rate", "deletions", ".2%"),
    ("length_ratio", "called over true length", ".3f"),
    ("blank_fraction", "frames called blank", ".1%"),
    ("loss", "loss, nats per base", ".4f"),
    ("read_coverage_mean", "share of a read that aligns", ".1%"),
    ("quality_error", "written qualities off by, phred", ".2f"),
)
"""Scores of an evaluation to print: key, name and format."""

OF_CHUNKS = (
    "Identity by Bonito's definition: matches over the columns of a local alignment (gap open 8, extend 4), 0 if less than "
    "half of the chunk aligns."
)
OF_READS = "Identity: matches over the columns of minimap2's best alignment of each read; reads that do not align are left out."
"""Definitions of identity, on chunks and on reads."""


def own_and_data(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The overrides of this command's options, and those that choose the data set; `hydra.searchpath` alone chooses none.

    Raises:
        SettingError: a key is neither; composed with the others, it would choose the default data set.
    """
    own, others = own_and_others(overrides, EvaluateOptions)
    keys = sorted(f.name for f in fields(EvaluateOptions))
    for line in others:
        key = line.partition("=")[0].lstrip("+~")
        if key.partition(".")[0] not in ("data", "hydra"):
            close = difflib.get_close_matches(key, [*keys, "data"], n=1)
            hint = f"did you mean {close[0]}?" if close else f"known keys are {', '.join(keys)}, data, and the keys of data"
            raise SettingError(f"{key}: evaluate has no such key; {hint}")
    return own, others if any(not line.startswith("hydra.") for line in others) else []


def render(evaluation: Evaluation, output: Path, console: Console) -> None:
    """Prints the numbers as tables."""
    scores, of_chunks = evaluation.scores, evaluation.data is not None
    what = f"{evaluation.split} split of {evaluation.data}" if of_chunks else f"{evaluation.reads_from}, {evaluation.reference}"
    table = Table("", f"{evaluation.decoder}", title=f"{evaluation.model}, {what}", title_justify="left")
    numbers = vars(scores) | {"quality_error": evaluation.quality.quality_error}
    for key in ("chunks", "reads", "aligned", "bases"):
        if key in numbers:
            table.add_row(key, f"{numbers[key]:,}")
    for key, name, form in SHOWN:
        if key in numbers:
            table.add_row(name, format(numbers[key], form))
    console.print(table)
    if scores.homopolymers:
        runs = Table("homopolymer", *(str(each.length) for each in scores.homopolymers))
        runs.add_row("count", *(f"{each.count:,}" for each in scores.homopolymers))
        runs.add_row("called with the correct length", *(f"{each.correct:.1%}" for each in scores.homopolymers))
        console.print(runs)
    console.print(OF_CHUNKS if of_chunks else OF_READS)
    if scores.length_ratio == 0 and not (isinstance(scores, ReadScores) and scores.bases):
        console.print(f"{evaluation.model} calls only blanks: it has not learned anything; train it longer", style="bold")
    console.print(f"written to {output}")


@as_message
def main() -> None:
    own, data = own_and_data(arguments("evaluate"))
    evaluation, output = evaluate(options("evaluate", own, EvaluateOptions), as_typed(data))
    render(evaluation, output, Console(highlight=False))


if __name__ == "__main__":
    main()
