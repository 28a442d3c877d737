"""The reproduction page of the baselines, put together."""

from __future__ import annotations

from collections.abc import Sequence

import baselines_adapters
import baselines_compared
import baselines_errors
import baselines_exact
import baselines_ric
from baselines_fronts import Comparison
from budget import Budget
from fspo_numbers import listed, several
from pagetext import table
from section import Section, claims

INTRO = """\
Headline claims of the methods that others are compared with: Rewards-in-Context (RiC, Yang et al. \
2024, [arXiv:2402.10207](https://arxiv.org/abs/2402.10207)), MODPO (Zhou et al. 2023, \
[arXiv:2310.03708](https://arxiv.org/abs/2310.03708)), MOD (Shi et al. 2024, \
[arXiv:2406.18853](https://arxiv.org/abs/2406.18853)), Rewarded Soups (Ramé et al. 2023, \
[arXiv:2306.04488](https://arxiv.org/abs/2306.04488)), HaM (2024, \
[arXiv:2412.05469](https://arxiv.org/abs/2412.05469)), Panacea (Zhong et al. 2024, \
[arXiv:2402.02030](https://arxiv.org/abs/2402.02030)) and MORLHF. Claims are in our words; some \
sources could be read in part only, so numbers that are not quoted are not known to us. Models \
here have a quarter of a million parameters: a verdict is about a claim's direction at this size, \
never about a source's own experiment.

Claims about optima are decided on exact tables when this page is made. Claims about fronts and \
costs are read from comparisons on scenarios of the [embedded world](../explanation/handy.md): \
{seen}. There every method is at the best of its settings, searched on validation prompts of \
another seed; experts are trained by DPO. ± is half of a 95 % t interval over seeds or random \
tables.

Fronts are told in percent of what is attainable, computed exactly: `hypervolume` of mean rewards, \
`E[min]` (mean over replies of a reply's smallest reward, best policy). Where methods served \
different trade-offs, only policies for those that all methods of a section served count, so \
numbers may be lower than in the comparison itself. Differences are paired by seed; `*`: the 95 % \
t interval excludes 0; `**`: also when all differences of a section are judged together (Holm).

Verdicts are computed from the numbers beside them and take differences with `**` only: `holds` if \
all are in favor, `holds only if` if some are, `does not hold` if none is and some are against, \
`not decided` otherwise, or where too little is measured. `(1 of 3)`: against one of three methods \
or variants."""
SNIPPETS = """\
B1: a marker is a suffix, not a set of letters.

```python
from paretune.functional.reward_prompt import write_rewards

marker = "### Response:"
prompt = "I do not know what to do here"
assert (prompt + marker).rstrip(marker) == "I do not know what to do her"
assert write_rewards(prompt + marker, (0.7,), marker) == f"{prompt} <rm1_score> 0.7{marker}"
```

Why MOD's normalizer cannot be dropped: three tokens, forward KL.

```python
import torch
from paretune.functional.divergences import combine, tilt

ref = torch.tensor([0.5, 0.3, 0.2]).double().log()
rewards = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]).double()
experts = torch.stack([tilt(ref, r, "forward_kl") for r in rewards])
best = tilt(ref, rewards.mean(0), "forward_kl")
assert torch.allclose(combine(ref, experts, (0.5, 0.5), "forward_kl"), best)
dropped = combine(ref, experts, (0.5, 0.5), "forward_kl", exact=False)
assert (dropped.exp() - best.exp()).abs().sum() > 0.05
```"""


def sections(
    budget: Budget,
    found: Sequence[Comparison],
    ric: Sequence[Comparison],
    problems: Sequence[str] = baselines_exact.PROBLEMS,
) -> list[Section]:
    """In the order of the page.

    Args:
        budget: of what needs no language model.
        found: comparisons of all methods.
        ric: runs of Rewards-in-Context alone.
        problems: exact ones.
    """
    return [
        baselines_compared.ric_cost(found),
        baselines_compared.ric_against_soups(found),
        baselines_ric.online_stage(ric),
        baselines_ric.map_optimum(),
        baselines_ric.range_of_wishes(ric),
        baselines_compared.modpo_cost(found),
        baselines_compared.modpo_against_dpo(found),
        baselines_exact.modpo_is_exact(problems),
        baselines_compared.mod_against_merging(found),
        baselines_exact.mod_with_and_without_z(budget),
        baselines_exact.token_by_token(budget),
        baselines_exact.soups_average(problems),
        baselines_adapters.section(budget),
        baselines_compared.ham_against_ric(found),
        baselines_compared.panacea_against(found),
        baselines_exact.corners_and_penalty(),
    ]


def page(made: str, parts: Sequence[Section], budget: Budget, found: Sequence[Comparison]) -> str:
    """The whole text.

    Args:
        made: command, date and machine.
        parts: a claim each.
        budget: of the faults.
        found: comparisons of all methods, for the words about them.
    """
    seen = "; ".join(
        f"{c.scenario} ({listed(c.objectives)}), {several(c.seeds, 'seed')}" for c in found
    )
    columns = ["", "the source", "smallest example", "what it shows"]
    rows = [mistake.row() for mistake in baselines_errors.mistakes(budget)]
    faults = "## Faults of the sources, and facts of their code not to copy"
    text = [
        "# RiC, MODPO, MOD, Rewarded Soups, HaM, Panacea and MORLHF, claim by claim",
        INTRO.format(seen=seen or "none is measured yet"), made, *claims(parts),
        f"{faults}\n\n{table(columns, rows, 4)}\n\n{SNIPPETS}",
    ]  # fmt: skip
    return "\n\n".join(text) + "\n"
