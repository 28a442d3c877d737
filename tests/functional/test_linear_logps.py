from __future__ import annotations

import math

import pytest
import torch

from paretune.errors import ShapeError
from paretune.functional.linear_logps import linear_logps


def problem(n: int = 7, width: int = 3, vocabulary: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n, width, dtype=torch.float64, generator=generator)
    weight = torch.randn(vocabulary, width, dtype=torch.float64, generator=generator)
    targets = torch.randint(vocabulary, (n,), generator=generator)
    bias = torch.randn(vocabulary, dtype=torch.float64, generator=generator)
    return states, weight, targets, bias


def test_by_hand() -> None:
    # Logits (log 3, 0): chances 3/4 and 1/4; the derivative is the target's row minus their mean.
    states = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[1.0, 2.0], [0.0, 4.0]], dtype=torch.float64)
    logps = linear_logps(states, weight, torch.tensor([0]))
    assert logps.item() == pytest.approx(math.log(0.75))
    logps.sum().backward()
    assert states.grad is not None
    assert states.grad[0].tolist() == pytest.approx([1 - 0.75, 2 - (0.75 * 2 + 0.25 * 4)])


@pytest.mark.parametrize("cells", [1, 10, 1 << 20])
@pytest.mark.parametrize("has_bias", [True, False])
def test_as_a_layer_and_a_log_softmax(cells: int, has_bias: bool) -> None:
    states, weight, targets, offset = problem()
    bias = offset if has_bias else None
    upstream = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    found = {}
    for name in ("pieces", "plain"):
        own = states.clone().requires_grad_()
        if name == "pieces":
            logps = linear_logps(own, weight, targets, bias, cells)
        else:
            logits = torch.nn.functional.linear(own, weight, bias)
            logps = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        (upstream * logps).sum().backward()
        found[name] = (logps.detach(), own.grad)
    for one, other in zip(found["pieces"], found["plain"], strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, rtol=0, atol=1e-14)


def test_the_derivative_of_the_derivative_free_numbers() -> None:
    states, weight, targets, bias = problem()
    states.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: linear_logps(s, weight, targets, bias, 6), (states,))


def test_inputs_are_not_changed_and_no_gradient_is_kept_for_none() -> None:
    states, weight, targets, bias = problem()
    before = [x.clone() for x in (states, weight, targets, bias)]
    logps = linear_logps(states, weight, targets, bias)
    assert logps.grad_fn is None
    for now, then in zip((states, weight, targets, bias), before, strict=True):
        assert torch.equal(now, then)


def test_half_precision_sums_in_full() -> None:
    states, weight, targets, bias = problem()
    logps = linear_logps(states.bfloat16(), weight.bfloat16(), targets, bias.bfloat16())
    assert logps.dtype is torch.float32
    assert torch.allclose(logps.double(), linear_logps(states, weight, targets, bias), atol=0.05)


def test_autocast_changes_nothing() -> None:
    states, weight, targets, bias = (x.float() if x.is_floating_point() else x for x in problem())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = linear_logps(states, weight, targets, bias)
    assert torch.equal(cast, linear_logps(states, weight, targets, bias))


def test_shapes_must_fit() -> None:
    states, weight, targets, _ = problem()
    with pytest.raises(ShapeError, match=r"found states \(7, 2\), weight \(5, 3\)"):
        linear_logps(states[:, :2], weight, targets)
