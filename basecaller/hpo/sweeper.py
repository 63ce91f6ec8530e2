"""The sweeper: a Hydra plugin that turns a stage into a study, its grid into a queue, and the queue into jobs.

`python -m basecaller.train -m ...` ends up here. What the stock OptunaSweeper does otherwise, and why this one does
not, is in `docs/design.md`.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import warnings
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from basecaller.errors import SettingError, StageError
from basecaller.resolving import resolve, user_error

if TYPE_CHECKING:
    import optuna

    from basecaller.hpo.grid import Entry, Point, Space

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between looks at trials that another process works on."""


@dataclass
class SweeperConfig:
    """`hydra.sweeper` of this project.

    Attributes:
        params: the stage's grid and injected settings, by override key.
        sampler: of Optuna, for spaces that are no grid; chosen with `hydra/sweeper/sampler=...`.
        n_trials: of such a space, in total.
    """

    _target_: str = "basecaller.hpo.sweeper.StageSweeper"
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": None}])
    params: dict[str, Any] = field(default_factory=dict)
    sampler: Any = None
    n_trials: int = 20


ConfigStore.instance().store(group="hydra/sweeper", name="basecaller", node=SweeperConfig, provider="basecaller")


class StageSweeper(Sweeper):
    """Runs what a sweep still misses, through Hydra's launcher, and returns the study."""

    # set by `setup`, which Hydra calls before anything else
    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(self, params: DictConfig, sampler: Any, n_trials: int) -> None:
        self.params, self.sampler_config, self.n_trials = params, sampler, n_trials

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from basecaller.hpo.composing import OnceComposed

        loader: Any = OnceComposed(hydra_context.config_loader)
        context = dataclasses.replace(hydra_context, config_loader=loader)
        self.config, self.hydra_context, self.task_function = config, context, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=context, task_function=task_function
        )

    # -- what is asked for

    def _params(self, skip: set[str]) -> list[str]:
        """The stage's own overrides, `${best:...}` resolved; keys that the command line sets are never looked at."""
        from basecaller.hpo.best import injections

        node, lines = self.config.hydra.sweeper.params, []
        written = OmegaConf.to_container(node, resolve=False)
        assert isinstance(written, dict)
        self.injected: dict[str, list[str]] = {}
        for key in node:
            if key in skip:
                continue
            try:
                value = str(node[key])
                lines.append(f"{key}='{value}'" if "${" in value else f"{key}={value}")  # quoted: left for the job
            except InterpolationResolutionError as error:
                raise user_error(error) or SettingError(f"stage {self.config.stage.name}, {key}: {error.msg}") from error
            if found := injections(str(written[key]), str(self.config.storage), str(self.config.experiment)):
                self.injected[str(key)] = found
        return lines

    def space(self, arguments: list[str]) -> Space:
        """The stage's grid merged with the command line, by key; the command line wins."""
        from basecaller.hpo.grid import parse_overrides, read_space

        command_line = parse_overrides(arguments)
        own = parse_overrides(self._params(set(command_line)))
        overrides = own | command_line
        self.own_axes = {key for key, override in own.items() if override.is_sweep_override()}
        space = read_space(overrides, self.hydra_context.config_loader.get_group_options, self.sampler_config is not None)
        self.halving = space.is_grid and not space.seeds
        if self.halving:
            space.seeds = self._seeds(space)
        return space

    def _seeds(self, space: Space) -> list[int]:
        """The replicates' seeds: `seed` and those that follow it."""
        from basecaller.hpo.grid import replicate_seeds

        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(space.fixed.values()))
        return replicate_seeds(config.stage.replicates, config.seed)

    @staticmethod
    def _plain(config: DictConfig) -> dict[str, Any]:
        return resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))

    def check(self, space: Space) -> dict[str, Any]:
        """Holds every swept value against the task's own `check`, before the storage is touched.

        Returns:
            The resolved config of the first point.
        """
        loader, fixed = self.hydra_context.config_loader, list(space.fixed.values())
        first = space.points()[0] if space.is_grid else None
        check = getattr(self.task_function, "check", lambda config: None)
        seed = [f"seed={space.seeds[0]}"] if space.seeds else []
        base = loader.load_sweep_config(self.config, fixed + seed + (first.overrides if first else []))
        check(base)
        if first:
            for key, values in space.axes.items():
                for value in values[1:]:
                    varied = type(first)(first.values | {key: value})
                    check(loader.load_sweep_config(self.config, fixed + varied.overrides))
        return self._plain(base)

    def context(self, space: Space, config: dict[str, Any]) -> str:
        """Digest of all that the trials of a study share: two trials that cannot be compared never have the same."""
        from basecaller.hpo.identity import IGNORED, digest, without

        shared = without(config, (*IGNORED, "seed", *space.distributions))
        # An override that is computed from swept keys counts as it is written, not with the first point's value; and
        # overrides below a swept group still hold for every point.
        telling = {key: line for key, line in space.fixed.items() if key not in IGNORED}
        written = {key: line for key, line in telling.items() if "${" in line or self._is_below(key, space)}
        for key in written:
            shared = without(shared, (key.lstrip("+"),))
        shape = {} if space.is_grid else {key: repr(d) for key, d in space.distributions.items()}
        choices = {key: d.choices for key, d in space.distributions.items() if hasattr(d, "choices")}
        return digest([shared, written, sorted(space.distributions), shape, choices, str(self.sampler_config)])

    @staticmethod
    def _is_below(key: str, space: Space) -> bool:
        return any(key.startswith(f"{swept}.") for swept in space.distributions)

    # -- running it

    def sweep(self, arguments: list[str]) -> str:
        """Runs what is missing.

        Returns:
            The study's name.
        Raises:
            BasecallerError: what was asked for cannot be; nothing was stored.
        """
        space = self.space(arguments)
        config = self.check(space)
        stage, experiment = self.config.stage.name, config["experiment"]
        self.folder, self.url = Path(config["output_dir"]), str(config["storage"])
        from basecaller.hpo.best import conclude_study, standing
        from basecaller.hpo.storage import mark_asked, open_study, without_password
        from basecaller.hpo.verdicts import verdict

        study = open_study(self.url, f"{experiment}/{stage}/{self.context(space, config)}", sampler=self._sampler())
        study.set_user_attr("question", str(self.config.stage.question))
        study.set_user_attr("fixed", {key: without_password(line) for key, line in space.fixed.items()})
        study.set_user_attr("injected", self.injected)
        for key, sources in self.injected.items():
            log.info("%s: %s", key, "; ".join(sources))
        study.set_user_attr("arguments", [without_password(line) for line in arguments])
        study.set_user_attr("choice", self._choice(space))
        study.set_user_attr("seeds", space.seeds or [config["seed"]])
        study.set_user_attr("concluded", None)
        mark_asked(study)
        self.done, self.launches = 0, dict[tuple[str, int], int]()
        if space.is_grid:
            self._walk(study, space)
        else:
            self._sample(study, space)
        stand = standing(study)
        for point, outcome in stand.failed.items():
            log.warning("%s: %s", point, outcome)
        if stand.winner is None:
            reasons = "; ".join(f"{point or 'its one point'}: {outcome}" for point, outcome in stand.failed.items())
            raise StageError(f"stage {stage}: none of its trials gave a value ({reasons}); see the messages above")
        if not stand.open:
            conclude_study(study, stand)
        log.info("%s: %s", study.study_name, verdict(stand))
        return study.study_name

    def _choice(self, space: Space) -> str | None:
        """The key that the stage asks about, if it is swept."""
        key = self.config.stage.choice
        return str(key) if key in space.distributions else None

    def _sampler(self) -> Any:
        from hydra.utils import instantiate

        if self.sampler_config is None:
            return None
        allowed = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
        return instantiate(self.sampler_config, _execution_whitelist_=allowed)

    def _launch(self, study: optuna.Study, space: Space, trials: list[tuple[int, Entry]]) -> None:
        own = [f"trial.study='{study.study_name}'"]
        fixed = [line for key, line in space.fixed.items() if key != "seed"]
        jobs = [
            [*fixed, *entry.point.overrides, f"seed={entry.seed}", *own, f"trial.number={number}"] for number, entry in trials
        ]
        try:
            returned = self.launcher.launch(jobs, initial_job_idx=self.done)
        except BrokenExecutor as error:
            log.warning("a worker process died (%s); its trial goes back into the queue", error)
        else:
            for job in returned:
                _ = job.return_value  # raises what a job raised outside its trial
        self.done += len(jobs)

    def _walk(self, study: optuna.Study, space: Space) -> None:
        """Runs the grid by the stage's design and, where the leader lies at an edge and the stage allows, the points beyond it.

        At every seed the design is followed to its end before the grid grows or the next seed begins.
        """
        self._design(space)
        points, grown = space.points(), 0
        while True:
            self._ask(study, space, points)
            beyond: list[Point] = []
            for level in range(1, len(space.seeds) + 1):
                self._finish(study, space, points, level)
                beyond = self._beyond(study, space, level) if grown < int(self.config.stage.extend) else []
                if beyond:
                    break
            if not beyond:
                break
            points, grown = points + beyond, grown + 1
        self._call_edges(study, space)

    def _design(self, space: Space) -> None:
        """Decides which point runs at which seed; rates are tried downward."""
        from basecaller.hpo.designs import EVERY, planned

        self.design = EVERY
        if self.halving:
            choice, kind = self._choice(space), str(self.config.stage.design)
            self.design, _, count = planned(kind, space.axes, choice, len(space.seeds))
            space.seeds = [space.seeds[0] + i for i in range(count)]
            for key, values in space.axes.items():
                if key != choice and self.design.kind == "rounds" and self.design.stops and len(values) > 1:
                    space.axes[key] = sorted(values, reverse=True)

    def _ask(self, study: optuna.Study, space: Space, points: list[Point]) -> None:
        """Stores what is asked for: from it alone everybody sees where the study stands."""
        from basecaller.hpo.edges import is_ordered

        study.set_user_attr("seeds", space.seeds)
        study.set_user_attr("points", [point.key for point in points])
        study.set_user_attr("settings", {point.key: point.values for point in points})
        study.set_user_attr("design", dataclasses.asdict(self.design))
        study.set_user_attr("measure", str(self.config.stage.measure))
        study.set_user_attr("axes", space.axes)
        values = space.axes.get(self._choice(space) or "", [])
        ordered = bool(self.config.stage.simple_first) and len(values) > 1
        study.set_user_attr("simple_first", (sorted(values) if is_ordered(values) else values) if ordered else None)

    def _beyond(self, study: optuna.Study, space: Space, level: int) -> list[Point]:
        """The leader's neighbours outside the grid, on the stage's own ordered axes; the axes grow by them."""
        from basecaller.hpo.best import standing
        from basecaller.hpo.edges import edges, outward
        from basecaller.hpo.grid import Point, widened

        stand = standing(study)
        leader = stand.conclusion_at(level).winner
        if leader is None:
            return []
        params = stand.settings[leader]
        beyond = []
        for key, end in edges(params, space.axes).items():
            value = outward(space.axes[key], end) if key in self.own_axes else None
            if value is not None:
                space.axes[key] = [*space.axes[key], value]
                space.distributions[key] = widened(space.distributions[key], value)
                beyond.append(Point({**{k: params[k] for k in space.axes}, key: value}))
                log.info("the best %s is the %s of its grid: trying %s", key, end, value)
        return beyond

    def _call_edges(self, study: optuna.Study, space: Space) -> None:
        """Stores and says at which edges of the grid the winner lies."""
        from basecaller.hpo.best import standing
        from basecaller.hpo.edges import edges

        winner = standing(study).winner
        found = edges(winner.params, space.axes) if winner else {}
        study.set_user_attr("edges", found)
        for key, end in found.items():
            log.warning("the winner's %s=%s is the %s of its grid: a better value may lie beyond", key, winner.params[key], end)  # type: ignore[union-attr]

    def _finish(self, study: optuna.Study, space: Space, points: list[Point], level: int) -> None:
        """Launches what the design wants at the first so many seeds, step by step, until all of it has ended, here or in
        another process."""
        from basecaller.hpo import queue
        from basecaller.hpo.best import standing
        from basecaller.hpo.grid import Entry

        by_key = {point.key: point for point in points}
        while True:
            with queue.study_lock(self.folder, study):
                queue.release_abandoned(study, self.folder, self.launches)
                stand = standing(study)
                # what failed in an earlier sweep is tried again; what fails in this one waits for the next
                again = {e for e, how in stand.dead.items() if e not in self.launches and how not in queue.CONCLUSIVE}
                wanted = stand.wanted(level, again)
                entries = [Entry(by_key[point], seed) for point, seed in wanted]
                queue.fill(study, space, [e for e in entries if self.launches.get(e.key, 0) < queue.ATTEMPTS])
            trials = queue.waiting(study, entries)
            if trials:
                # A worker that dies takes those beside it along: who was there runs alone, so that the culprit is known.
                alone = [(number, entry) for number, entry in trials if self.launches.get(entry.key)]
                trials = alone[:1] or trials
                for _, entry in trials:
                    self.launches[entry.key] = self.launches.get(entry.key, 0) + 1
                self._launch(study, space, trials)
            elif queue.running(study):
                time.sleep(POLL)
            elif not entries:
                break

    def _sample(self, study: optuna.Study, space: Space) -> None:
        """Asks the sampler for points until there are `n_trials` in total."""
        from optuna.trial import TrialState

        from basecaller.hpo import queue
        from basecaller.hpo.grid import Entry, Point
        from basecaller.hpo.identity import digest

        study.set_user_attr("n_trials", self.n_trials)
        seed = int(study.user_attrs["seeds"][0])
        me = f"sweeper-{digest([study.study_name, time.time_ns()])}"
        at_once = max(1, int(OmegaConf.select(self.config, "hydra.launcher.n_jobs") or 1))
        with queue.named_lock(self.folder, me):
            while True:
                queue.release_abandoned(study, self.folder)
                counted = [
                    t for t in study.get_trials(deepcopy=False)
                    if t.state != TrialState.FAIL or t.user_attrs.get("outcome") != "abandoned"
                ]  # fmt: skip
                asked = []
                for _ in range(min(at_once, self.n_trials - len(counted))):
                    with warnings.catch_warnings():
                        warnings.filterwarnings("ignore", message="Heartbeat of storage")  # jobs keep it themselves
                        trial = study.ask()
                    trial.set_user_attr("sweeper", me)
                    queue.beat(study, trial)
                    values = {key: trial._suggest(key, d) for key, d in space.distributions.items()}
                    point = Point(values)
                    trial.set_user_attr("point", f"{trial.number}: {point.key}")
                    trial.set_user_attr("seed", seed)
                    asked.append((trial.number, Entry(point, seed)))
                if not asked:
                    break
                self._launch(study, space, asked)
        Path(queue.named_lock(self.folder, me).lock_file).unlink(missing_ok=True)
