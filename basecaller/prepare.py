"""`python -m basecaller.prepare data=...`: reads of any source -> a data set on disk, with an audit.

python -m basecaller.prepare
python -m basecaller.prepare data=pod5 data.pod5=reads.pod5 data.bam=mappings.bam
python -m basecaller.prepare data=pod5 data.pod5=[a.pod5,b.pod5] data.bam=[a.bam,b.bam]
"""

from pathlib import Path

from rich.console import Console

from basecaller.commandline import arguments, as_typed
from basecaller.config import compose_config
from basecaller.data.audit import render
from basecaller.data.pore import pore_of
from basecaller.data.sources import prepare
from basecaller.entry import as_message
from basecaller.settings import data_settings


@as_message
def main() -> None:
    overrides = as_typed(arguments("prepare", __doc__, "as for basecaller.train, such as data=pod5"))
    settings = data_settings(compose_config(overrides))
    console, pore = Console(), pore_of(settings.pore_model)
    console.print(render(prepare(settings.name, settings.source, Path(settings.folder)), pore))
    if settings.test is not None:
        console.print("\ndata.test, for the winner's test only")
        console.print(render(prepare(settings.test.name, settings.test.source, Path(settings.folder)), pore, only_tested=True))


if __name__ == "__main__":
    main()
