"""The reproduction page of multi-objective FSPO, put together."""

from __future__ import annotations

from collections.abc import Sequence

import fspo_aligns
import fspo_dpo
import fspo_errors
import fspo_expense
import fspo_fonseca
import fspo_gaps
import fspo_hypervolume
import fspo_learned
import fspo_taste
import fspo_users
from fspo_budget import Budget
from fspo_scores import World
from pagetext import table
from section import Section, claims

INTRO = """\
SantaCruz, *Beyond Single Rewards: Multi-Objective Scalarization in Few-Shot Preference Learning*, \
a Stanford course report that extends FSPO (Singh et al. 2025, \
[arXiv:2502.19312](https://arxiv.org/abs/2502.19312)) from one reward to several. It has no \
results: its experiments did not finish. So there is nothing to reproduce by number, and this page \
tests what it claims and asks. Claims are in our words, and every number is computed by the \
library when the page is made. ± is half of a 95 % t interval over seeds."""
SNIPPETS = """\
F8: the printed sign, on losses that could both go to 0.

```python
import warnings

import torch
from paretune.functional.scalarizer import StepLosses
from paretune.functional.scalarizers import Chebyshev

losses = torch.tensor([[0.9, 0.3]], requires_grad=True)
ones = torch.ones(1, 2)
step = StepLosses(losses, ones / 2, ones > 0, 0 * ones, ones[:, 0])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library warns
    printed = Chebyshev(rho=0, orientation="max", is_literal=True)
(gradient,) = torch.autograd.grad(printed(step, torch.zeros(0)).loss, losses)
assert gradient.tolist() == [[0.0, -1.0]]  # a step down raises the smallest loss

(gradient,) = torch.autograd.grad(Chebyshev(rho=0)(step, torch.zeros(0)).loss, losses)
assert gradient.tolist() == [[1.0, 0.0]]  # and lowers the largest with the sign turned
```

F10: a hypervolume that is added as a number trains the weighted sum.

```python
import torch
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarizer import StepLosses
from paretune.functional.scalarizers import Linear

losses = torch.tensor([[0.9, 0.3], [0.5, 0.7], [0.2, 0.2]], requires_grad=True)
ones = torch.ones(3, 2)
step = StepLosses(losses, ones / 2, ones > 0, 0 * ones, ones[:, 0])
rules = (ParetoHypervolume(gradient="detach"), Linear(), ParetoHypervolume())
number, linear, own = (
    torch.autograd.grad(rule(step, torch.zeros(0)).loss, losses)[0] for rule in rules
)
assert torch.equal(number, linear)
assert (own > linear)[:2].all() and torch.equal(own[2], linear[2])  # hard pairs weigh more
```"""


def sections(budget: Budget, world: World | None, users: fspo_users.Found) -> list[Section]:
    """In the order of the page.

    Args:
        budget: of what needs no language model.
        world: runs on the embedded world; without them their sections are left out.
        users: few-shot policies; without any their section is left out.
    """
    return [
        *(fspo_aligns.sections(world) if world else []),
        *fspo_fonseca.sections(budget, world),
        fspo_hypervolume.section(budget, world),
        fspo_dpo.section(),
        *([fspo_expense.section(world)] if world else []),
        fspo_taste.section(budget),
        *fspo_users.sections(users),
        fspo_learned.section(world),
    ]


def page(found: Sequence[Section], answer: str, budget: Budget, made: str) -> str:
    """The whole text.

    Args:
        found: a claim each.
        answer: to the research question.
        budget: of the errors.
        made: command, date and machine.
    """
    parts = [
        "# Multi-objective FSPO, claim by claim", INTRO, f"## The answer, in short\n\n{answer}",
        made, *claims(found), _errors(budget), _gaps(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _errors(budget: Budget) -> str:
    columns = ["", "the report", "smallest example", "what it shows"]
    rows = [mistake.row() for mistake in fspo_errors.mistakes(budget)]
    return f"## Errors of the source\n\n{table(columns, rows, 4)}\n\n{SNIPPETS}"


def _gaps() -> str:
    columns = ["", "left open", "smallest example", "what it shows: what we do"]
    rows = [mistake.row() for mistake in fspo_gaps.mistakes()]
    return f"## What the source leaves open\n\n{table(columns, rows, 4)}"
