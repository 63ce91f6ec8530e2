"""What a search refuses before anything runs, and the winner's training."""

from __future__ import annotations

import pytest

from basecaller.common.errors import SettingError
from basecaller.hpo.storage import open_study
from basecaller.search_plan.request import Request
from tests.helpers.searching import search


@pytest.mark.slow
def test_a_plan_without_stages_that_it_needs_is_refused_before_anything_runs(folder):
    with pytest.raises(SettingError, match=r"winners of padding, batch_norm: .*'plan=\[padding,batch_norm,lr_adam\]'"):
        search("plan=[lr_adam,padding]")
    with pytest.raises(SettingError) as needed:
        search("plan=[stacks]")
    search(str(needed.value).split("'")[1])  # the plan of the message is complete
    with pytest.raises(SettingError, match=r"winners of batch_norm: .*', or set model\.batch_norm=\.\.\.$"):
        search("plan=[padding,lr_adam]")
    assert not list(folder.iterdir())
    assert Request(["plan=[padding,lr_adam]", "model.batch_norm=true"]).plan == ["padding", "lr_adam"]
    open_study("sqlite:///outputs/optuna.db", "tiny/batch_norm/earlier")
    assert Request(["plan=[padding,lr_adam]"]).plan == ["padding", "lr_adam"]


def test_a_plan_with_an_unknown_stage_or_none_is_refused(folder):
    with pytest.raises(SettingError, match="plan: there is no stage nonesuch; stages are batch_norm, "):
        search("plan=[padding,nonesuch]")
    with pytest.raises(SettingError, match=r"plan: there is no stage paddin; did you mean padding\? Stages are batch_norm, "):
        search("plan=[paddin]")
    for own in ("sweep", "finalists", "combined", "contenders", "headline"):
        with pytest.raises(SettingError, match=f"plan: there is no stage {own}; (?!.*{own})"):
            search(f"plan=[padding,{own}]")
    with pytest.raises(SettingError, match="plan: must name at least one stage"):
        search("plan=[]")


@pytest.mark.parametrize("key", ["stage.name=mine", "trial.number=3", "stage.candidates={a:1}"])
def test_keys_that_a_search_sets_itself_are_refused(folder, key):
    with pytest.raises(SettingError, match=r"^(stage|trial)\.\w+: a search sets this key itself; leave it out$"):
        search(key)


def test_a_winners_training_that_is_invalid_is_found_before_anything_runs(folder):
    made = search("search.winner.train.batch_schedule=[8,1]", "search.winner.train.budget=updates")
    with pytest.raises(SettingError, match=r"search\.winner: train\.batch_schedule=\[8, 1\]: needs train\.budget=epochs"):
        made.run()
    with pytest.raises(SettingError, match=r"search\.winner\.seed: unknown key"):
        search("search.winner.seed=7")
    with pytest.raises(SettingError, match=r"padding\.mode: is set by its group; give search\.winner\.padding=on"):
        search("search.winner.padding.mode=on")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"optimizer.weight_decay": 0.05}),
        (["optimizer.weight_decay=0.1"], {}),  # the user's stays
        (["optimizer.weight_decay=0.1", "search.winner.optimizer.weight_decay=0.2"], {"optimizer.weight_decay": 0.2}),
        (["optimizer.lr=0.1", "search.winner.optimizer.lr=1"], {"optimizer.weight_decay": 0.05, "optimizer.lr": 1.0}),
    ],
)
def test_the_users_optimizer_settings_stay_unless_the_winner_has_its_own(folder, given, expected):
    found = Request(["plan=[padding]", *given]).recipe
    assert {key: value for key, value in found.items() if key.startswith("optimizer.")} == expected
    assert all(isinstance(value, float) for key, value in found.items() if key in expected)


def test_a_wrong_batch_schedule_of_a_finalist_is_found_at_the_start(folder):
    with pytest.raises(SettingError, match=r"search\.batch_schedule=\[8, 0\]: must be batch sizes of at least 1"):
        search("search.batch_schedule=[8,0]")
