"""Code is reduced to what can change a number."""

from __future__ import annotations

import pytest

from basecaller.common.source_code import meaning

CODE = '''"""A module."""
import logging

from somewhere import thing

log = logging.getLogger(__name__)


def step(loss: float, rate: float = 0.5) -> float:
    """One step."""
    if loss != loss:
        raise ValueError(f"the loss is {loss}")
    log.info("a step of %s", rate)
    return loss * rate  # as published
'''

SILENT = {
    "comment": ("  # as published", ""),
    "docstring": ('"""One step."""', '"""One more step."""'),
    "message": ('f"the loss is {loss}"', '"diverged: " + str(loss)'),
    "log line": ('log.info("a step of %s", rate)', 'log.debug("stepped")'),
    "no log line": ('    log.info("a step of %s", rate)\n', ""),
    "annotation": ("loss: float", 'loss: "np.float64"'),
    "import": ("from somewhere import thing", "from elsewhere import thing"),
    "layout": ("return loss * rate", "return (\n        loss * rate\n    )"),
}

TELLING = {
    "number": ("0.5", "0.25"),
    "operator": ("loss * rate", "loss + rate"),
    "condition": ("loss != loss", "loss == loss"),
    "kind of error": ("ValueError", "KeyError"),
}


@pytest.mark.parametrize("kind", SILENT)
def test_rewording_leaves_the_version_of_the_code(kind):
    old, new = SILENT[kind]
    assert old in CODE
    assert meaning(CODE.replace(old, new)) == meaning(CODE)


@pytest.mark.parametrize("kind", TELLING)
def test_changes_that_may_affect_numbers_change_the_version_of_the_code(kind):
    old, new = TELLING[kind]
    assert meaning(CODE.replace(old, new)) != meaning(CODE)
    assert meaning(CODE.replace(old, new), "step") != meaning(CODE, "step")
