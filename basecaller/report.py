"""`basecaller report`: a finished or running search as a page, `outputs/<experiment>/report.html`."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

from rich.console import Console

from basecaller.cli.arguments import arguments, as_typed, options
from basecaller.cli.entry import as_message
from basecaller.cli.keys import own_and_others
from basecaller.common.errors import StageError
from basecaller.config.composition import compose_config
from basecaller.config.schema import ReportOptions
from basecaller.hpo.storage import stages_of
from basecaller.hpo.urls import without_password
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.search_state import RUNNING, SearchState
from basecaller.reporting.serving import serving
from basecaller.reporting.terminal import print_report
from basecaller.reporting.writing import write_report
from basecaller.search_plan.checks import check_plan


def watch(url: str, experiment: str, folder: Path, plan: list[str], every: float) -> ReportFacts:
    """Writes the pages repeatedly while the search runs, and once more when it has ended.

    Args:
        url, experiment, folder, plan: see `write_report`.
        every: seconds between two updates.
    """
    while True:
        facts = write_report(url, experiment, folder, plan, notes=False)
        if facts.state != RUNNING:
            return facts
        time.sleep(every)


@as_message
def main() -> None:
    own, others = own_and_others(arguments("report"), ReportOptions)
    chosen, given = options("report", own, ReportOptions), as_typed(others)
    cfg = compose_config(given, ReportOptions)
    check_plan(cfg.plan, given)
    folder, ran = Path(cfg.output_dir), stages_of(str(cfg.storage), str(cfg.experiment))
    if not ran:
        raise StageError(
            f"experiment={cfg.experiment}, storage {without_password(str(cfg.storage))}: no search or sweep has run yet; run: "
            f"python -m basecaller.search experiment={cfg.experiment}"
        )
    begun = any(name in ran for name in cfg.plan)
    searched = SearchState.read(folder).plan
    plan = searched if searched is not None else list(cfg.plan) if begun else []
    search = str(cfg.storage), str(cfg.experiment), folder, plan
    with ExitStack() as stack:
        served = None if chosen.serve is None else stack.enter_context(serving(folder, chosen.serve))
        if chosen.watch or served:
            place = served or folder / "report.html"
            print(f"{place}: updated every {chosen.every:g} s until the search ends; press Ctrl-C to stop", flush=True)
            facts = watch(*search, chosen.every)
        else:
            facts = write_report(*search)
        print_report(facts, Console(markup=False))
        print(folder / "report.html")
        if served:  # a page that is open loads itself once more
            print(f"{served}: the search has ended; press Ctrl-C to stop", flush=True)
            with suppress(KeyboardInterrupt):
                Event().wait()


if __name__ == "__main__":
    main()
