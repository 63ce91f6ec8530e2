"""The commands: `basecaller <name>`, or `python -m basecaller.<name>`."""

from __future__ import annotations

from dataclasses import dataclass

from basecaller.config.schema import OF_SEARCH, BasecallOptions, EvaluateOptions, ExportOptions, ReportOptions

EVERY = ("",)
"""All keys of `conf/config.yaml`."""


@dataclass(frozen=True)
class Command:
    """A command, for its help and completion.

    Attributes:
        summary: description in one line.
        examples: arguments after `basecaller <name>`.
        details: longer description.
        options: dataclass of its own keys, with defaults in `conf/commands/<name>.yaml`; None if it has none.
        uses: keys and sections of `conf/config.yaml` that it uses.
        without: exceptions from `uses`.
        flags: arguments that begin with a dash, and what they do.
    """

    summary: str
    examples: tuple[str, ...]
    details: str = ""
    options: type | None = None
    uses: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()


HELP = (("-h, --help", "Show this help."),)

HELP_WITH_GROUPS = (("-h, --help", "Show this help, with the defaults of the given config groups (data=pod5 --help)."),)

CONFIG_DIR = (("--config-dir DIR", "Folder with stages, models, data or other configs of your own, beside those of conf/."),)

COMMANDS = {
    "search": Command(
        "Run the whole search: every stage in order, the finalists, the winner and its test, the report.",
        ("", "search.preview=true", "experiment=phage data=pod5 data.pod5=reads.pod5 data.bam=calls.bam"),
        "A search that was killed continues when it is started again. Settings apply to every stage.",
        uses=EVERY,
        without=OF_SEARCH,
        flags=(*CONFIG_DIR, *HELP_WITH_GROUPS),
    ),
    "train": Command(
        "Train once; with -m, sweep a stage or a grid of your own.",
        ("", "-m stage=lr_adam", "-m optimizer=adam,adamax optimizer.lr=0.001,0.0005"),
        "A training that was killed continues from its last checkpoint; one that has finished is not repeated.",
        uses=EVERY,
        flags=(
            ("-m, --multirun", "Sweep: a stage, or every key with several values."),
            ("--cfg job", "Print the composed config and exit."),
            *CONFIG_DIR,
            ("--experimental-rerun DIR", "Repeat the run of a folder; a training that was killed continues."),
            *HELP_WITH_GROUPS,
            ("--hydra-help", "Show Hydra's other flags."),
        ),
    ),
    "report": Command(
        "Write the report of a finished or running search, and print the short version.",
        ("", "experiment=phage", "watch=true", "serve=8000"),
        "It writes report.html, report.md and report.json to output_dir.",
        options=ReportOptions,
        uses=("experiment", "storage", "output_dir", "plan"),
        flags=(*CONFIG_DIR, *HELP),
    ),
    "prepare": Command(
        "Make the data set from your reads, and print its audit.",
        (
            "",
            "data=pod5 data.pod5=reads.pod5 data.bam=calls.bam",
            "data=pod5 data.pod5=[a.pod5,b.pod5] data.bam=[a.bam,b.bam]",
        ),
        uses=("data",),
        flags=(*CONFIG_DIR, *HELP_WITH_GROUPS),
    ),
    "basecall": Command(
        "Call the bases of POD5 reads with a trained model: FASTQ, SAM or BAM.",
        (
            "model=outputs/tiny/winner reads=reads.pod5",
            "model=outputs/tiny/winner reads=run1/ output=calls format=bam decoder=greedy",
        ),
        "Files that were finished are not called again, so the same command continues after a kill.",
        options=BasecallOptions,
        flags=HELP,
    ),
    "evaluate": Command(
        "Measure how good a model's basecalls are, and calibrate its qualities.",
        (
            "model=outputs/tiny/winner",
            "model=outputs/tiny/winner data=pod5 data.pod5=reads.pod5 data.bam=calls.bam split=all",
            "model=outputs/tiny/winner reads=reads.pod5 reference=genome.fasta",
        ),
        "Qualities are calibrated on the validation split, never on the split that is reported. Without data=... the data set "
        "is the one that the model was trained on.",
        options=EvaluateOptions,
        uses=("data",),
        flags=(*CONFIG_DIR, *HELP_WITH_GROUPS),
    ),
    "export": Command(
        "Export a model as TorchScript or ONNX, checked against the original on reads.",
        ("model=outputs/tiny/winner", "model=outputs/tiny/winner format=onnx reads=reads.pod5"),
        "The file takes normalised signals, float32 [batch, samples], and returns log-probabilities, [batch, frames, labels]. "
        "basecaller.json, inside it and next to it, has the normalisation, stride and letters that a program needs.",
        options=ExportOptions,
        flags=HELP,
    ),
}
"""Commands by name, in the order of `basecaller --help`."""
