"""Averaged parameters and mixed log-probabilities, by hand."""

import pytest
import torch

from paretune.errors import InputError, ShapeError
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.mixing import average_parameters, mix_logps


def test_average_by_hand():
    states = [{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0])}]
    assert average_parameters(states, [0.25, 0.75])["a"].tolist() == [2.5, 5.0]
    assert average_parameters(states, [2.0, -1.0])["a"].tolist() == [-1.0, -2.0]


def test_average_is_new_memory_and_changes_nothing():
    first, second = (
        {"a": torch.zeros(2), "n": torch.tensor(3)},
        {"a": torch.ones(2), "n": torch.tensor(4)},
    )
    merged = average_parameters([first, second], [1.0, 0.0])
    merged["a"] += 5
    merged["n"] += 5
    assert first["a"].tolist() == [0, 0]
    assert second["a"].tolist() == [1, 1]
    assert first["n"] == 3


def test_average_is_taken_in_single_precision():
    # 128 additions of 2 ** -15 to .5 would each be lost in bfloat16; together they are 2 ** -8.
    states = [{"a": torch.full((1,), v, dtype=torch.bfloat16)} for v in [1.0] + [0.0078125] * 128]
    merged = average_parameters(states, [0.5] + [0.5 / 128] * 128)["a"]
    assert merged.dtype == torch.bfloat16
    assert merged.item() == 0.5 + 2**-8


def test_double_precision_is_kept():
    states = [{"a": torch.tensor([1e-12], dtype=torch.float64)}] * 2
    assert average_parameters(states, [0.5, 0.5])["a"].item() == 1e-12


def test_counters_come_from_the_first_state():
    states = [{"steps": torch.tensor(7), "mask": torch.tensor([True])}] * 2
    merged = average_parameters(states, [0.5, 0.5])
    assert merged["steps"] == 7
    assert merged["mask"].dtype == torch.bool


def test_average_refuses_other_networks():
    one = {"a": torch.zeros(2), "b": torch.zeros(1)}
    with pytest.raises(ShapeError, match="differ in names: b"):
        average_parameters([one, {"a": torch.zeros(2)}], [0.5, 0.5])
    with pytest.raises(ShapeError, match=r"a has shape \(3,\) in state 1, expected \(2,\)"):
        average_parameters([one, {"a": torch.zeros(3), "b": torch.zeros(1)}], [0.5, 0.5])
    with pytest.raises(ShapeError, match="3 weights for 2"):
        average_parameters([one, one], [0.2, 0.3, 0.5])
    with pytest.raises(ShapeError, match="0 weights"):
        average_parameters([], [])
    with pytest.raises(InputError, match="sum 1"):
        average_parameters([one, one], [0.5, 0.6])
    with pytest.raises(InputError, match="finite"):
        average_parameters([one, one], [float("nan"), 1.0])


def test_mixture_by_hand():
    # sqrt(.9 * .1) : sqrt(.1 * .9) is even; .9 ** .75 * .1 ** .25 : its mirror is 9 ** .5 : 1.
    logps = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    assert mix_logps(logps, [0.5, 0.5]).exp().tolist() == pytest.approx([0.5, 0.5])
    assert mix_logps(logps, [0.75, 0.25]).exp().tolist() == pytest.approx([0.75, 0.25])


def test_a_corner_is_the_policy_itself_even_without_support():
    logps = torch.log(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert mix_logps(logps, [1.0, 0.0]).exp().tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_what_one_policy_rules_out_stays_out():
    logps = torch.log(torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]))
    assert mix_logps(logps, [0.5, 0.5]).exp().tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_mixing_optima_gives_the_optimum_of_the_mixed_reward():
    generator = torch.Generator().manual_seed(0)
    ref = torch.randn(4, 6, generator=generator).log_softmax(-1)
    rewards = torch.rand(4, 6, 2, generator=generator)
    corners = torch.stack(
        [kl_regularized_optimum(ref, rewards, torch.eye(2)[i], beta=0.3) for i in range(2)]
    )
    expected = kl_regularized_optimum(ref, rewards, torch.tensor([0.3, 0.7]), beta=0.3)
    assert mix_logps(corners, [0.3, 0.7]) == pytest.approx(expected, abs=1e-5)


def test_mixture_is_normalized_and_takes_logits():
    logits = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    mixed = mix_logps(logits, [0.2, 0.3, 0.5])
    assert mixed.exp().sum(-1).tolist() == pytest.approx([1, 1])
    assert mixed == pytest.approx(mix_logps(logits.log_softmax(-1), [0.2, 0.3, 0.5]), abs=1e-6)
    with pytest.raises(ShapeError, match="2 weights for 3"):
        mix_logps(logits, [0.5, 0.5])
