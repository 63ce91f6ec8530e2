"""Sentences about a winner besides the verdict."""

from __future__ import annotations

from basecaller.hpo.ranking import Conclusion
from basecaller.hpo.verdicts import CANDIDATE, at_edges, compared, named
from basecaller.schema import OBJECTIVE


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
        "show the noise; max_dilation_32 is used."
    )
