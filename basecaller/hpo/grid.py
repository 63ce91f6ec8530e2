"""What a sweep asks for: fixed overrides, and the axes of a grid or a space to sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from basecaller.errors import SettingError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution


def as_text(value: Any) -> str:
    """A swept value in Hydra's override grammar."""
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if _is_constant(value) else str(value)


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, bool)


@dataclass(frozen=True)
class Point:
    """One point of a space: a value for every swept key."""

    values: dict[str, Any]

    @property
    def key(self) -> str:
        """What tells this point from the others of its study."""
        return " ".join(self.overrides)

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={as_text(value)}" for key, value in self.values.items()]


@dataclass(frozen=True)
class Entry:
    """One place in the queue: a point at a seed."""

    point: Point
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        return self.point.key, self.seed


@dataclass
class Space:
    """A sweep, read from overrides.

    Attributes:
        fixed: the overrides that sweep nothing, in order, by key.
        axes: the values of every swept key, where all are finite.
        distributions: Optuna's distribution of every swept key.
        is_grid: whether all swept keys have finite choices.
        seeds: that points run at. `seed` is no axis: values of it that the user sweeps are replicates, else the sweeper
            puts those of `search.replicates` here.
    """

    fixed: dict[str, str] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    is_grid: bool = True
    seeds: list[int] = field(default_factory=list)

    def points(self) -> list[Point]:
        """All points of the grid, the last key running fastest; one empty point where nothing is swept."""
        combinations = itertools.product(*self.axes.values())
        return [Point(dict(zip(self.axes, values, strict=True))) for values in combinations]


def replicate_seeds(replicates: Any, seed: Any) -> list[int]:
    """The seeds of so many replicates: `seed` and those that follow it.

    Raises:
        SettingError: not a positive whole number.
    """
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        raise SettingError(f"search.replicates={replicates}: must be a whole number of seeds, at least 1")
    return [seed + i for i in range(replicates)] if isinstance(seed, int) else [seed]


def parse_overrides(lines: Iterable[str]) -> dict[str, Override]:
    """Override lines by their key; of two with one key the later one stays, at the later place."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    by_key: dict[str, Override] = {}
    for override in OverridesParser.create().parse_overrides(list(lines)):
        by_key.pop(override.key_or_group, None)
        by_key[override.key_or_group] = override
    return by_key


def _distribution(key: str, values: list[Any], options: list[str]) -> BaseDistribution:
    """The distribution of a grid's axis, such that the axis can grow within its study.

    A study accepts other bounds of a numeric distribution later, but never other choices of a categorical one. So
    numbers are ranges, and a config group has all its options.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if options:
        unknown = [value for value in values if value not in options]
        if unknown:
            raise SettingError(f"{key}={unknown[0]}: no such option; there are {', '.join(options)}")
        return CategoricalDistribution(options)
    if all(isinstance(value, bool) for value in values):
        return CategoricalDistribution([False, True])
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return FloatDistribution(float(min(values)), float(max(values)))
    return CategoricalDistribution(values)


def widened(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """A numeric distribution with one value more."""
    from optuna.distributions import FloatDistribution, IntDistribution

    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return type(distribution)(min(distribution.low, value), max(distribution.high, value))


def read_space(overrides: dict[str, Override], group_options: Callable[[str], list[str]], sampled: bool) -> Space:
    """Sorts overrides into what is fixed and what is swept.

    Args:
        overrides: see `parse_overrides`.
        group_options: the options of a config group; empty for a key that is none.
        sampled: whether the user chose a sampler: then choices are sampled too, not walked as a grid.
    Raises:
        SettingError: a sweep that cannot be read.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_optuna_distribution_from_override

    space = Space(is_grid=not sampled)
    found: dict[str, BaseDistribution] = {}
    for key, override in overrides.items():
        line = str(override.input_line)
        if not override.is_sweep_override():
            space.fixed[key] = line
            continue
        try:
            found[key] = create_optuna_distribution_from_override(override)
        except (ValueError, AssertionError, NotImplementedError) as error:
            raise SettingError(f"{line}: {error}") from error
        if override.is_interval_sweep():
            space.is_grid = False
    for key, distribution in found.items():
        if space.is_grid:
            values = list(dict.fromkeys(OptunaSweeperImpl._to_grid_sampler_choices(distribution)))
            if key == "seed":
                space.seeds = values
                continue
            space.axes[key] = values
            space.distributions[key] = _distribution(key, values, group_options(key))
        else:
            space.distributions[key] = distribution
    return space
