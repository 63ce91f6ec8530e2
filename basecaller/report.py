"""`basecaller report`: a finished or running search as a page, `outputs/<experiment>/report.html`."""

from pathlib import Path

from rich.console import Console

from basecaller.commandline import arguments, as_typed
from basecaller.config import compose_config
from basecaller.entry import as_message
from basecaller.errors import StageError
from basecaller.files import read_json
from basecaller.hpo.storage import stages_of
from basecaller.hpo.urls import without_password
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.dashboard import show_search
from basecaller.reporting.facts import experiment_facts, studies_of
from basecaller.reporting.pages import write_pages
from basecaller.reporting.terminal import print_report


def write_report(url: str, experiment: str, folder: Path, plan: list[str], pages: bool = True) -> ReportFacts:
    """Writes an experiment's report pages, and what optuna-dashboard shows of it.

    Args:
        url: of the storage.
        experiment: its name.
        folder: its outputs.
        plan: the stages that the search runs.
        pages: False: they are up to date.
    Returns:
        The facts that they are made from.
    """
    history = (read_json(folder / "search.json") or {}).get("history", [])
    studies = studies_of(url, experiment, plan, history)
    facts = experiment_facts(url, experiment, folder, plan, studies)
    if pages:
        write_pages(facts, folder)
        show_search(studies, facts)
    return facts


@as_message
def main() -> None:
    cfg = compose_config(as_typed(arguments("report")))
    folder = Path(cfg.output_dir)
    if not stages_of(str(cfg.storage), str(cfg.experiment)):
        raise StageError(
            f"experiment={cfg.experiment}, storage {without_password(str(cfg.storage))}: nothing was run yet; run: "
            f"python -m basecaller.search experiment={cfg.experiment}"
        )
    plan = (read_json(folder / "search.json") or {}).get("plan", list(cfg.plan))
    facts = write_report(str(cfg.storage), str(cfg.experiment), folder, plan)
    print_report(facts, Console(markup=False))
    print(folder / "report.html")


if __name__ == "__main__":
    main()
