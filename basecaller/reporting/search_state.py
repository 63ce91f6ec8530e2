"""`search.json`: the state of a search, which the search writes after every step and the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from basecaller.common.facts import from_json, to_json
from basecaller.common.files import read_json, write_json

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
"""States of a search. A search that was killed stays stored as running, since it could not record its end."""


def study_stage(stage: str, asking: int) -> str:
    """The part of a study's name for the question: `dilation`, or `dilation.2` if it is asked again."""
    return stage if asking == 1 else f"{stage}.{asking}"


@dataclass(frozen=True)
class Asked:
    """One asking of a question.

    Attributes:
        stage: its file in `conf/stage/`.
        asking: 1 for the method's own asking, 2 for the first repeat, and so on.
        round: round of the search.
        why: why it is asked again; empty for the method's own asking.
        study: name of its study.
        under: the fixed settings by override key.
        answer: the winner's settings by override key.
        guessing: whether its winner had learned nothing.
        before: the answer that it replaces; empty for the method's own asking.
        budget: overrides that made its trials longer.
    """

    stage: str
    asking: int
    round: int
    why: str
    study: str
    under: dict[str, Any]
    answer: dict[str, Any]
    guessing: bool
    before: dict[str, Any] = field(default_factory=dict)
    budget: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name under which its study is stored."""
        return study_stage(self.stage, self.asking)


@dataclass(frozen=True)
class SearchState:
    """The state of a search. The file of an earlier version may lack any field.

    Attributes:
        command: the command of the search.
        plan: the stages of its plan.
        history: all questions so far.
        compared: studies of the stages that compare whole configurations, by stage.
        data: findings of the audit.
        seconds: duration so far, of all its processes.
        state: see `RUNNING`.
    """

    command: str | None = None
    plan: list[str] | None = None
    history: list[Asked] = field(default_factory=list)
    compared: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    seconds: float = 0.0
    state: str | None = None

    @property
    def studies(self) -> dict[str, str]:
        """The studies by stage, in the order of the questions."""
        return {asked.name: asked.study for asked in self.history} | self.compared

    @classmethod
    def read(cls, folder: Path) -> SearchState:
        """The state of the search in an experiment's folder; empty if there is none or it cannot be read."""
        try:
            return from_json(cls, read_json(folder / "search.json"))
        except ValueError:
            return cls()

    def write(self, folder: Path) -> None:
        write_json(folder / "search.json", to_json(self))
