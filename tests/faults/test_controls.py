"""The rig sees what goes wrong: plain TRL, whose faults are known, is not called exact."""

import signal

from rig import costs, damage, kills, refusals, stops
from rig.processes import Ended
from rig.subjects import TRL, TRL_DIVERGING
from rig.trials import Trial, broken, counted, judge, kept


def test_a_result_that_differs_is_not_exact():
    done = Ended(0, "all is well", 1.0, 1.0)
    assert judge(done, {"a": "1"}, {"a": "1"}) == "exact"
    assert judge(done, {"a": "2"}, {"a": "1"}) == "silently wrong"
    assert judge(done, {}, {"a": "1"}) == "silently wrong"
    assert judge(done, {"a": "1", "b": "1"}, {"a": "1"}) == "silently wrong"
    assert judge(Ended(1, "paretune: x: disk full", 1.0, 1.0), {}, {}) == "error"
    assert judge(Ended(1, "Traceback (most recent call last):", 1.0, 1.0), {}, {}) == "crash"
    assert judge(Ended(None, "", 1.0, 1.0), {"a": "1"}, {"a": "1"}) == "hangs"


def test_trials_are_counted_by_outcome():
    trials = [
        Trial("a", "exact", True),
        Trial("b", "crash", False, "why"),
        Trial("c", "exact", True),
    ]
    assert counted(trials) == "2 exact, 1 crash"
    assert kept(trials) == "2/3"
    assert broken(trials) == ["b: crash: why"]


def test_trl_is_repeatable_but_not_recoverable_from_half_a_checkpoint(rig):
    assert broken(costs.repeated(rig, TRL, 1)) == []
    trials = kills.write_order(rig, TRL, most=2)
    assert [t.outcome for t in trials] == [
        "exact",
        "crash",
    ]  # before the folder is there, and in it


def test_trl_goes_on_from_damage_and_other_data_in_silence(rig):
    outcomes = {t.what: t.outcome for t in damage.checkpoint_damage(rig, TRL, every=10)}
    assert "silently wrong" in outcomes.values()
    assert {t.outcome for t in refusals.trl_changes(rig, TRL, ["a row edited"])} == {
        "exit 0, another result"
    }


def test_trl_diverges_and_calls_it_a_loss_of_zero(rig):
    trial = refusals.divergence(rig, TRL_DIVERGING)
    assert not trial.is_kept and trial.outcome.startswith("exit 0, ")
    assert "say loss 0" in trial.outcome and ", 0 files" not in trial.outcome


def test_trl_ends_without_a_save_on_a_signal(rig):
    (trial,) = stops.signals_at_times(rig, TRL, 1, [signal.SIGTERM])
    assert not trial.is_kept and trial.outcome.startswith("cut short, then "), trial
