"""`basecaller basecall`: writes one file of basecalls for every POD5 file."""

from rich.console import Console

from basecaller.calling.basecalling import basecall
from basecaller.cli.arguments import arguments, options
from basecaller.cli.entry import as_message
from basecaller.config.schema import BasecallOptions


@as_message
def main() -> None:
    overrides = arguments("basecall")
    console = Console(stderr=True, highlight=False)
    chosen = options("basecall", overrides, BasecallOptions)
    done = basecall(chosen, console, f"python -m basecaller.basecall {' '.join(overrides)}")
    rate = done.samples / done.seconds if done.seconds else 0.0
    console.print(
        f"{done.reads:,} reads, {done.bases:,} bases, {done.samples:,} samples in {done.seconds:.1f} s: "
        f"{rate:,.0f} samples per second; {done.files} files in {chosen.output}, {done.files_before} there before"
    )
    for reason, reads in done.unwritten.items():
        console.print(f"{reads:,} reads not written: {reason}")
    if done.reads and not done.bases:
        console.print(f"model={chosen.model} calls only blanks: it has not learned anything; train it longer", style="bold")


if __name__ == "__main__":
    main()
