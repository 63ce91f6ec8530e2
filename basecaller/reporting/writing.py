"""Writes the report: the pages, and the notes in the storage."""

from __future__ import annotations

from pathlib import Path

from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.facts import experiment_facts, studies_of
from basecaller.reporting.pages import write_pages
from basecaller.reporting.search_state import SearchState


def write_report(
    url: str, experiment: str, folder: Path, plan: list[str], pages: bool = True, notes: bool = True
) -> ReportFacts:
    """Writes an experiment's report pages, and what optuna-dashboard shows of it.

    Args:
        url: URL of the storage.
        experiment: name of the experiment.
        folder: folder of its outputs.
        plan: names of the stages that the search runs.
        pages: whether to write the pages and notes.
        notes: whether to write the notes with the pages; a running search writes its own.
    Returns:
        The facts of the report.
    """
    search = SearchState.read(folder)
    studies = studies_of(url, experiment, plan, search)
    facts = experiment_facts(url, experiment, folder, plan, search, studies)
    if pages:
        write_pages(facts, folder)
        if notes:
            from basecaller.reporting.dashboard import show_search  # here: Plotly starts slowly, and --help draws nothing

            show_search(studies, facts)
    return facts
