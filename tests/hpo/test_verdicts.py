"""Sentences about a winner besides the verdict."""

from __future__ import annotations

from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.ranking import Conclusion
from basecaller.hpo.standing import standing
from basecaller.hpo.task import CANDIDATE
from basecaller.hpo.verdicts import at_edges, compared, named, verdict
from tests.helpers.stages import lr_stage


def test_edges_are_reported_in_words():
    text = at_edges({"optimizer.lr": "lowest"}, {"optimizer.lr": 5e-05})
    assert text == "At the edge: lr 5e-05 is the lowest of its grid; a better value may lie beyond."
    assert at_edges({}, {}) == ""


def test_a_candidate_is_called_by_its_name_and_one_seed_is_said_to_show_no_noise():
    assert named(CANDIDATE, "max_dilation_32") == "max_dilation_32"
    assert named("model.max_dilation", 32) == "max_dilation 32"
    found = Conclusion("one seed", winner="a", best="a", rival="b", margin=0.0161, seeds=1, shared=1)
    text = compared(found, {"a": "max_dilation_32", "b": "incumbent"}, OBJECTIVE)
    assert text == (
        "One seed: max_dilation_32 is 0.0161 nats per base better than incumbent. This may be chance, since one seed does not "
        "show the noise."
    )


def test_no_sentence_begins_with_a_setting(folder):
    """With a capital letter it would be another word."""
    undecided = verdict(standing(lr_stage("lr_adam", {0.004: [1.0, 1.0], 0.002: [1.0, 1.01]})), OBJECTIVE)
    assert undecided.startswith("Undecided between lr 0.004, lr 0.002: lr 0.004 leads lr 0.002 by 0.0050 ")
    alone = verdict(standing(lr_stage("lr_adamax", {0.004: [1.0, 1.0]})), OBJECTIVE)
    assert alone == "Nothing to compare with: lr 0.004 has 1.0000 nats per base, 2 seeds."
