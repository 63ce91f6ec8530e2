"""A search as its user asked for it: config, plan, stages, and the winner's training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from basecaller.common.checking import typed_scalar
from basecaller.common.errors import SettingError
from basecaller.common.files import check_writable
from basecaller.common.workers import divide
from basecaller.config.composition import compose_config, composed, group_options
from basecaller.config.schema import OF_SEARCH
from basecaller.config.settings import general, settings
from basecaller.data.batches import check_padding
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.hpo.grid import as_text, parse_overrides
from basecaller.hpo.storage import check_storage, stages_of
from basecaller.runs.findings import data_findings
from basecaller.search_plan.checks import check_network, check_order, check_plan, check_winner
from basecaller.search_plan.incumbent import BATCH, decided_keys
from basecaller.search_plan.stages import flat, read_stage, unswept
from basecaller.task import TASK

OWN = ("plan=", "search.workers=", "search.preview=", "search.winner", "search.rounds=", "search.round_budget=",
       "search.finalist", "search.combined=", "search.batch_margin=", "search.contender", "search.headline",
       "search.batch_schedule=", "print_config=")  # fmt: skip
"""Keys that select what a search runs and do not affect its trials."""


@contextmanager
def _about_winner() -> Iterator[None]:
    """Makes the message of a wrong setting say that it is one of the winner's training."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"search.winner: {error}") from error


class Request:
    """A search as its user asked for it.

    Args:
        overrides: the user's overrides.
        of_hydra: overrides of Hydra's own config for every sweep; neither shown nor stored.
    Attributes:
        cfg, options: its config, and the section `search` of it.
        typed: the user's overrides; `overrides` are those that every stage gets, `given` their keys.
        url, experiment, folder: where it is stored.
        workers: how it divides the machine.
        plan: names of its stages, in order.
        files, spaces: file and grid of each stage.
        keys: the settings that the plan decides.
    Raises:
        SettingError: the plan cannot run as it is, see `checks`.
    """

    def __init__(self, overrides: Sequence[str], of_hydra: Sequence[str] = ()) -> None:
        self.typed, self.of_hydra = list(overrides), list(of_hydra)
        self.cfg = compose_config(unswept(self.typed))
        self.overrides = [line for line in self.typed if not line.startswith(OWN)]
        self.given = set(parse_overrides(unswept(self.overrides)))
        if "stage" in self.given:
            raise SettingError("stage: a search runs the stages of its plan; give them as in 'plan=[padding,lr_adam]'")
        if own := sorted(self.given.intersection(OF_SEARCH)):
            raise SettingError(f"{own[0]}: a search sets this key itself; leave it out")
        self.url, self.experiment = str(self.cfg.storage), str(self.cfg.experiment)
        self.folder = Path(self.cfg.output_dir)
        self.plan = [str(name) for name in self.cfg.plan]
        self.options = general(self.cfg).search
        self.workers = divide(self.options.workers, str(self.cfg.device), self.cfg.threads)
        check_plan(self.plan, self.overrides)
        self.files = {name: read_stage(name, self.overrides) for name in self.plan}
        check_network(self.files, self.cfg)
        check_order(self.files, self.overrides, stages_of(self.url, self.experiment))
        # Hydra composes a config for each answer, and the stages ask about the same groups
        self.group_options = cache(partial(group_options, overrides=self.overrides))
        self.spaces = {name: file.planned(self.overrides, self.group_options)[0] for name, file in self.files.items()}
        self.keys = [key for key in decided_keys(self.files.values()) if key not in self.given]
        check_winner(self.keys, self.cfg, unswept(self.overrides))

    def check(self) -> None:
        """Checks everything else that is quick to check before a search begins.

        Raises:
            BasecallerError: a setting is invalid; nothing was stored.
        """
        TASK.check(self.cfg)
        with _about_winner():
            TASK.check(self.winner_config)
        check_storage(self.url)
        check_writable(self.folder)

    def prepare(self) -> None:
        """Makes the data sets, and checks the settings with them.

        Raises:
            BasecallerError: the data cannot be used, or a setting does not suit it; nothing was stored.
        """
        TASK.prepare(self.cfg)
        if not any("padding" in self.swept(name) for name in self.plan):
            check_padding(self.dataset, str(self.cfg.padding.mode), self.largest_batch)
        with _about_winner():
            TASK.prepare(self.winner_config)

    # -- the stages

    def swept(self, name: str) -> set[str]:
        """The keys that a stage sweeps."""
        return set(self.spaces[name].axes)

    def contests(self) -> Iterator[list[str]]:
        """The stages of the plan, grouped by question: successive stages that sweep the same keys answer one question."""
        contest: list[str] = []
        for name in self.plan:
            if contest and self.swept(name) != self.swept(contest[-1]):
                yield contest
                contest = []
            contest.append(name)
        yield contest

    @property
    def largest_batch(self) -> int:
        """The largest batch of the plan's stages."""
        if schedule := self.cfg.train.batch_schedule:
            return max(schedule)
        return max([self.cfg.data.batch_size, *(size for space in self.spaces.values() for size in space.axes.get(BATCH, []))])

    # -- the winner's training

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The settings of the winner's training by key (`search.winner`). An optimizer setting that the user gave for all
        trainings stays, unless they gave one for the winner too."""

        def of_winner(key: str) -> bool:
            return any(f"search.winner.{key}.".startswith(f"{line.split('=')[0].lstrip('+')}.") for line in self.typed)

        return {
            key: typed_scalar(TASK.field_of(key, self.cfg), value, f"search.winner.{key}")
            for key, value in flat(self.cfg.search.winner).items()
            if not (key.startswith("optimizer.") and key in self.given) or of_winner(key)
        }

    @property
    def of_winner(self) -> list[str]:
        """The overrides of the winner's training."""
        return [f"{key}={as_text(value)}" for key, value in self.recipe.items()]

    def trained_with(self, settings: Iterable[str]) -> DictConfig:
        """The config of the winner's training with some settings, given as overrides."""
        lines = parse_overrides([*unswept(self.overrides), *settings, *self.of_winner])
        return composed([str(of.input_line) for of in lines.values()])

    @cached_property
    def winner_config(self) -> DictConfig:
        """The config of the winner's training with the untuned settings."""
        return self.trained_with([])

    # -- the data

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that the search trains on."""
        data = settings(self.cfg).data
        return prepare(data.name, data.source, Path(data.folder))

    @cached_property
    def findings(self) -> list[str]:
        """See `runs.findings.data_findings`."""
        return data_findings(settings(self.cfg))
