"""`basecaller export`: a trained model as TorchScript or ONNX, checked against the original on reads."""

from rich.console import Console

from basecaller.calling.exporting import export
from basecaller.cli.arguments import arguments, options
from basecaller.cli.entry import as_message
from basecaller.config.schema import ExportOptions


@as_message
def main() -> None:
    done = export(options("export", arguments("export"), ExportOptions))
    Console(highlight=False).print(
        f"{done.file}: the same calls for {done.same_calls} of {done.reads} reads, log-probabilities differ by at most "
        f"{done.difference:.2g}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
