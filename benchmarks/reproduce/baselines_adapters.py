"""Rewarded Soups with low-rank adapters: averages of updates, of factors, and PEFT's own."""

from __future__ import annotations

import functools
from typing import Any

import torch
from budget import Budget
from pagetext import interval, table
from section import Section
from torch import Tensor, nn

WIDTH, RANK = 64, 8
DRIFTS = (0.05, 0.3, 1.0)
EXACT = 1e-5


def section(budget: Budget) -> Section:
    """Averaging factors against averaging updates."""
    by_factor = {None: factor_errors(None, budget), **{d: factor_errors(d, budget) for d in DRIFTS}}
    ends = factor_errors(None, budget, weight=1.0)
    rows = [
        ["first factors start apart" if d is None else f"same start, drift {100 * d:.0f} %",
         interval(e)]
        for d, e in by_factor.items()
    ]  # fmt: skip
    rows.append(["at a corner", interval(ends)])
    peft = {kind: peft_error(kind) for kind in ("cat", "linear", "svd")}
    rows += [[f"PEFT `add_weighted_adapter`, `{kind}`", _small(e)] for kind, e in peft.items()]
    return Section(
        "Experts with low-rank adapters are averaged by averaging their parameters",
        "Rewarded Soups (arXiv:2306.04488), its code: A and B key by key",
        f"relative error of the averaged update at even weights: {by_factor[None].mean():.2f} with "
        f"factors apart, {by_factor[DRIFTS[0]].mean():.3f} from one start; PEFT linear "
        f"{peft['linear']:.2f}, svd {peft['svd']:.2f}, cat {peft['cat']:.0e}",
        factors_verdict(float(by_factor[None].mean()), float(by_factor[DRIFTS[0]].mean())),
        "What is to be averaged are the updates s B A, of which every expert has one a matrix. "
        f"Relative error (Frobenius) of other averages at even weights, random factors of rank "
        f"{RANK} on {WIDTH} x {WIDTH} matrices, two experts; `drift`: how far A moved from a "
        f"common start, relative to it. {budget.instances} draws.\n\n"
        + table(["average", "relative error"], rows)
        + "\n\nBy factors the products of one expert's B and another's A come in. Here updates are "
        "stacked (`cat`), which is exact and keeps the rank of both.",
    )


def factors_verdict(apart: float, close: float) -> str:
    """From the errors with factors that started apart, and from one start.

    Example:
        >>> factors_verdict(0.7, 0.03)
        'holds only if: updates are averaged; factors are off by 0.70, from one start by 0.030'
        >>> factors_verdict(1e-9, 1e-9)
        'holds'
    """
    if apart <= EXACT:
        return "holds"
    return (
        f"holds only if: updates are averaged; factors are off by {apart:.2f}, from one start by "
        f"{close:.3f}"
    )


def factor_errors(drift: float | None, budget: Budget, weight: float = 0.5) -> Tensor:
    """``(instances,)`` relative error of averaging A and B; ``None``: A's have no common start."""
    errors = []
    for seed in range(budget.instances):
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int, rng: torch.Generator = rng) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        start = normal(RANK, WIDTH)
        firsts = [normal(RANK, WIDTH) if drift is None else start + drift * normal(RANK, WIDTH)
                  for _ in range(2)]  # fmt: skip
        seconds = [normal(WIDTH, RANK) for _ in range(2)]
        w = (weight, 1 - weight)
        exact = sum(v * b @ a for v, a, b in zip(w, firsts, seconds, strict=True))
        a, b = (sum(v * f for v, f in zip(w, fs, strict=True)) for fs in (firsts, seconds))
        errors.append(torch.linalg.norm(b @ a - exact) / torch.linalg.norm(exact))
    return torch.stack(errors)


class _Toy(nn.Module):
    """The smallest network that takes an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


@functools.cache
def _adapted() -> Any:
    """A network with two random adapters."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["layer"], init_lora_weights=False)
    model = get_peft_model(_Toy(), config, adapter_name="one")  # type: ignore[arg-type]
    model.add_adapter("two", config)
    return model


@torch.no_grad()
def peft_error(kind: str) -> float:
    """Relative error of PEFT's weighted adapter at even weights."""
    model = _adapted()
    layer = model.base_model.model.layer
    model.base_model.add_weighted_adapter(
        ["one", "two"], [0.5, 0.5], adapter_name=kind, combination_type=kind
    )
    exact = (layer.get_delta_weight("one") + layer.get_delta_weight("two")) / 2
    return float(torch.linalg.norm(layer.get_delta_weight(kind) - exact) / torch.linalg.norm(exact))


@torch.no_grad()
def silent_load() -> tuple[int, int, float]:
    """Keys of an adapter's state, how many ``load_state_dict(strict=False)`` took, what changed."""
    from peft import get_peft_model_state_dict

    model = _adapted()
    layer = model.base_model.model.layer
    before = layer.get_delta_weight("one").clone()
    doubled = {k: 2 * v for k, v in get_peft_model_state_dict(model, adapter_name="one").items()}
    report = model.load_state_dict(doubled, strict=False)
    moved = float((layer.get_delta_weight("one") - before).abs().max())
    return len(doubled), len(doubled) - len(report.unexpected_keys), moved


def _small(value: float) -> str:
    return f"{value:.0e}" if value < EXACT else f"{value:.3f}"
