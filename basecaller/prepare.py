"""`python -m basecaller.prepare data=...`: reads of any source -> a data set on disk, with an audit.

python -m basecaller.prepare
python -m basecaller.prepare data=pod5 data.pod5=reads.pod5 data.bam=mappings.bam
python -m basecaller.prepare data=pod5 data.pod5=[a.pod5,b.pod5] data.bam=[a.bam,b.bam]
"""

import argparse
from pathlib import Path

from rich.console import Console

from basecaller.config import as_message, compose_config
from basecaller.data.audit import render
from basecaller.data.pore import pore_of
from basecaller.data.sources import prepare
from basecaller.settings import data_settings


@as_message
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m basecaller.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for basecaller.train, such as data=pod5")
    settings = data_settings(compose_config(parser.parse_args().overrides))
    console, pore = Console(), pore_of(settings.pore_model)
    console.print(render(prepare(settings.name, settings.source, Path(settings.folder)), pore))
    if settings.test is not None:
        console.print("\ndata.test, for the winner's test only")
        console.print(render(prepare(settings.test.name, settings.test.source, Path(settings.folder)), pore, only_tested=True))


if __name__ == "__main__":
    main()
