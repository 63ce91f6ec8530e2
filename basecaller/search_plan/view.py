"""What previews, forecasts and the progress line read of a search."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig
from rich.console import Console

from basecaller.data.dataset import Dataset
from basecaller.hpo.grid import Space
from basecaller.schema import SearchOptions
from basecaller.search_plan.incumbent import Asked, Incumbent
from basecaller.search_plan.stages import StageFile
from basecaller.workers import Workers


class SearchView(Protocol):
    """The part of `search.Search` that these use.

    Attributes:
        cfg, options: its config, and the section `search` of it.
        winner_config: the config of the winner's training with the untuned settings.
        overrides: the user's overrides that every stage gets.
        console: prints its tables.
        url, experiment, folder: where it is stored.
        workers: how it divides the machine.
        plan: names of its stages, in order.
        files, spaces: file and grid of each stage.
        history: all questions so far; `latest` has the last asking of each stage.
        incumbent: the best settings so far; None before the first answer.
        round: number of the current round.
        finished_before, answered_before: whether an earlier process finished it; rounds, stages and studies of its answers.
    """

    cfg: DictConfig
    options: SearchOptions
    overrides: list[str]
    console: Console
    url: str
    experiment: str
    folder: Path
    workers: Workers
    plan: list[str]
    files: dict[str, StageFile]
    spaces: dict[str, Space]
    history: list[Asked]
    incumbent: Incumbent | None
    round: int
    finished_before: bool
    answered_before: list[tuple[int, str, str]]

    @property
    def winner_config(self) -> DictConfig: ...

    @property
    def latest(self) -> dict[str, Asked]: ...

    @property
    def dataset(self) -> Dataset: ...

    def contests(self) -> Iterable[list[str]]: ...

    def __hash__(self) -> int: ...
