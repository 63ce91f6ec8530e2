"""`basecaller prepare`: reads of any source as a data set on disk, with an audit."""

from pathlib import Path

from rich.console import Console

from basecaller.cli.arguments import arguments, as_typed
from basecaller.cli.entry import as_message
from basecaller.config.composition import compose_config
from basecaller.config.settings import data_settings
from basecaller.data.audit import render
from basecaller.data.pore import pore_of
from basecaller.data.sources import prepare
from basecaller.runs.findings import check_data_files


@as_message
def main() -> None:
    overrides = as_typed(arguments("prepare"))
    settings = data_settings(compose_config(overrides))
    check_data_files(settings)
    console, pore = Console(), pore_of(settings.pore_model)
    console.print(render(prepare(settings.name, settings.source, Path(settings.folder)), pore))
    if settings.test is not None:
        console.print("\ndata.test, for the winner's test only")
        console.print(render(prepare(settings.test.name, settings.test.source, Path(settings.folder)), pore, only_tested=True))


if __name__ == "__main__":
    main()
