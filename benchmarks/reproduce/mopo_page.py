"""The reproduction page of MOPO, put together."""

from __future__ import annotations

from collections.abc import Sequence

import mopo_errors
import mopo_gaps
from budget import Budget
from mopo_prototype import checks
from pagetext import table
from section import Section, claims

INTRO = """\
Agnihotri, Jain, Ramachandran and Wen 2025, *Multi-Objective Preference Optimization: Improving \
Human Alignment of Generative Models* ([arXiv:2505.10892](https://arxiv.org/abs/2505.10892)). \
Claims are in our words. Every number is computed by the library when this page is made.

Formulas are missing from the text that we could read, so the comparisons of the five structures, \
the reward sets A and B and their grids are reconstructed from the words around them; `Algorithm \
1` is ours with the corrections below, `as printed` undoes them. The primary objective comes \
first, and expectations are taken as they are (radius 0) unless a radius is named. ± is half of a \
95 % t interval over seeds, or over random tables where there is one exact \
answer a table."""
SNIPPETS = """\
M3 in a few lines: the printed weights meet any floor, so no multiplier ever moves.

```python
import torch
from paretune.functional.constrained import constrained_optimum
from paretune.functional.imitation_weights import constrained_scores, literal_log_weights

ref = torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
p, q = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[[0.5], [1.0], [0.0]]])
floor = torch.tensor([2 / 3])
best = constrained_optimum(ref, p, q, floor, tau=0.1)
assert abs(best.multipliers.item() - 0.861371) < 1e-5

scores = constrained_scores(p[0], q[0], multipliers=torch.zeros(1))
w = literal_log_weights(scores, tau=0.1).exp()
assert (w * q[0, :, 0]).mean() > 1000 * floor  # "kept", with lambda = 0
```

M5: the floor of an expectation against a bound.

```python
import torch
from paretune.errors import InfeasibleError
from paretune.functional.robust import kl_ball_bound, robust_optimum

ref = torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
p, q = torch.tensor([[1.0, 0.5, 0.0]]).double(), torch.tensor([[[0.5], [1.0], [0.0]]]).double()
bound, _ = kl_ball_bound(q[0, :, 0], ref[0].exp(), radius=0.15)
robust_optimum(ref, p, q, 0.9995 * bound[None], tau=0.08, radius=0.15)
try:
    robust_optimum(ref, p, q, torch.tensor([0.9995 / 2]).double(), tau=0.08, radius=0.15)
except InfeasibleError as error:
    assert "no policy meets them in the worst case" in str(error)
else:
    raise AssertionError
```

M7: a floor inside the printed range, and a tie.

```python
import numpy as np
from paretune.functional.thresholds import constrained_row, floor_ranges

points = np.array([[1.0, 0.6], [0.2, 0.9], [1.0, 0.3]])
low, high = floor_ranges(points[:2], row=0)
assert low[1] < 0.2 <= high[1]  # .2 is in the range; (1, .3) keeps it and is dominated
assert constrained_row(points, [0.0, 0.2], primary=0) == 0  # the tie-break takes (1, .6)
```"""


def page(sections: Sequence[Section], budget: Budget, made: str) -> str:
    """The whole text.

    Args:
        sections: a claim each.
        budget: of the rest.
        made: command, date and machine.
    """
    parts = ["# MOPO, claim by claim", INTRO, made, *claims(sections),
             _errors(budget), _gaps(budget), _compared(budget)]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _errors(budget: Budget) -> str:
    columns = ["", "the paper", "smallest example", "what it shows"]
    rows = [mistake.row() for mistake in mopo_errors.mistakes(budget)]
    return f"## Errors of the source\n\n{table(columns, rows, 4)}\n\n{SNIPPETS}"


def _gaps(budget: Budget) -> str:
    columns = ["", "left open", "smallest example", "what it shows: what we do"]
    rows = [mistake.row() for mistake in mopo_gaps.mistakes(budget)]
    return f"## What the source leaves open\n\n{table(columns, rows, 4)}"


def _compared(budget: Budget) -> str:
    found = checks(budget)
    differ = [check for check in found if not check.is_met]
    columns = ["number", "agree", "here", "prototype", "tolerance"]
    said = (
        f"An independent prototype in numpy computed {len(found)} of these numbers before the "
        f"library existed: {len(found) - len(differ)} agree within their tolerance"
    )
    if not differ:
        return f"## Against a prototype\n\n{said}."
    rows = [check.row() for check in differ]
    return f"## Against a prototype\n\n{said}. Those that do not:\n\n{table(columns, rows, 2)}"
