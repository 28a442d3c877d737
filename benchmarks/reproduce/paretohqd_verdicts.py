"""Verdicts of the ParetoHqD page, from differences over seeds."""

from __future__ import annotations

from collections.abc import Mapping

from fspo_numbers import Gap, listed, signed
from paretohqd_scores import beyond, is_idle, keys, short

Gaps = Mapping[tuple[str, str], Gap]


def verdict(found: Gaps, nothing: str) -> str:
    """Better beyond chance everywhere, somewhere, or nowhere.

    Args:
        found: differences, first less second.
        nothing: reason given where nothing is better.
    """
    up, down = beyond(found, 1), beyond(found, -1)
    if len(keys(found, 1)) == len(found):
        return "holds"
    if up and down:
        return f"holds only if: judged by {listed(up)}; worse in {listed(down)}"
    if up:
        return f"holds only if: {listed(beyond(found, 0))} is left out: no difference beyond chance"
    if down:
        return f"does not hold: {nothing}; worse in {listed(down)}"
    return f"not decided: {nothing}"


def stage_verdict(own: Gaps, tuned: Gaps) -> str:
    """Of the second stage.

    Args:
        own: differences at the paper's numbers of rows.
        tuned: differences with the best settings of each; may be empty.
    """
    up = beyond(tuned, 1)
    if not up:
        return verdict(own, "no gain beyond chance")
    if len(keys(tuned, 1)) == len(tuned) and len(keys(own, 1)) == len(own):
        return "holds"
    said = f"holds only if: settings are searched and judged by {listed(up)}"
    said += _tail("worse in", beyond(tuned, -1))
    at_paper = [_tail(word, beyond(own, sign), "") for word, sign in (("better in", 1),
                                                                     ("worse in", -1))]  # fmt: skip
    return f"{said}; with the paper's 100 and 50 rows " + (
        ", ".join(filter(None, at_paper)) or "no difference beyond chance"
    )


def _tail(word: str, where: list[str], lead: str = "; ") -> str:
    return f"{lead}{word} {listed(where)}" if where else ""


def rows_verdict(found: Mapping[str, Gaps], every: Gaps) -> str:
    """From numbers of rows that beat the paper's, and from all rows.

    Args:
        found: differences to the paper's number of rows, by label.
        every: the paper's number of rows less all rows, even trade-off.
    """
    ahead: dict[str, list[str]] = {}
    for name, gaps in found.items():
        for scenario, measure in keys(gaps, 1):
            told = f"{name.removeprefix('rows-')} rows on {scenario}"
            gained = signed(gaps[scenario, measure], 1).removesuffix(" *")
            ahead.setdefault(measure, []).append(f"{told} ({gained})")
    lost, won = beyond(every, 1), beyond(every, -1)
    if not ahead and not won:
        return "holds" if lost else "not decided: all rows differ nowhere beyond chance"
    more = [f"better by {short(m)}: {listed(where)}" for m, where in ahead.items()]
    whole = [f"all rows lose {listed(lost)}"] if lost else []
    whole += [f"all rows win {listed(won)}"] if won else []
    return "holds only if: close to the best is enough; " + "; ".join([*more, *whole])


def layers_verdict(wins: list[str], found: Gaps) -> str:
    """Which number of layers serves, from clouds and from the world.

    Args:
        wins: where more layers are better on rewards alone.
        found: more layers less the fewest, on the world; may be empty.
    """
    thin = "they hold several times k where fronts are thin"
    if not found or is_idle(found):
        same = "; on the world both rules select the same responses" if found else ""
        return f"holds only if: {thin}{same}" if wins else "holds"
    more, fewer = beyond(found, 1), beyond(found, -1)
    if fewer and not more:
        tail = "; on thin continuous fronts more layers are better" if wins else ""
        return f"holds only if: few are the fewest where rewards are discrete{tail}"
    if more and not fewer:
        return f"holds only if: they hold several times k; better in {listed(more)}"
    if more:
        return (
            f"holds only if: chosen by yardstick; more are better in {listed(more)}, worse in "
            f"{listed(fewer)}"
        )
    tail = f"holds only if: {thin}" if wins else "holds"
    return f"{tail}; on the world no difference beyond chance" if wins else tail
