"""Tables of a run."""

from dataclasses import replace

from paretune.core.results import Cost
from paretune.reporting.glossary import COSTS
from paretune.reporting.table import cost_table, method_table


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_reference_first_limits_last(runs) -> None:
    table = method_table(runs[0])
    assert [row[0] for row in table.rows] == [
        "reference", "rewarded_soups", "dpo", "modpo", "pareto_hqd", "best 11 policies",
        "best possible",
    ]  # fmt: skip
    best = dict(zip(table.columns, table.rows[4], strict=True))
    method, known = runs[0].methods[3], runs[0].known
    hypervolume = method.hypervolume
    assert best["hypervolume"].startswith(f"{hypervolume.value:.3f} [{hypervolume.low:.3f}, ")
    shares = (hypervolume.value / known.hypervolume, hypervolume.value / known.ceilings[11])
    assert best["of limit"] == f"{100 * shares[0]:.0f}%, {100 * shares[1]:.0f}%"
    utility = method.utility_min.value
    assert best["E[min]"] == f"{utility:.3f} ({100 * utility / known.utility_min:.0f}%)"
    assert best["steers"] == " ".join(f"{rho:.2f}" for rho in method.controllability)
    assert table.rows[-1][3] == "100%"


def test_the_markdown_is_aligned_and_fits_a_terminal(runs) -> None:
    lines = method_table(runs[0]).markdown().splitlines()
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) <= 120
    assert {len(_cells(line)) for line in lines} == {9}
    assert len(cost_table(runs[0]).markdown().splitlines()[0]) <= 100


def test_columns_without_an_entry_are_left_out(runs) -> None:
    no_front = replace(runs[0], known=None)
    columns = method_table(no_front).columns
    assert not {"of limit"} & set(columns)
    assert "best possible" not in method_table(no_front).markdown()


def test_a_failed_method_is_named_with_its_error(runs) -> None:
    gone = replace(
        runs[0].methods[0], points=(), hypervolume=None, utility_min=None,
        utility_chebyshev=None, controllability=(None, None), distance=None,
        largest_gap=None, failed="RunError: loss is nan\nat step 3",
    )  # fmt: skip
    text = method_table(replace(runs[0], methods=(gone, *runs[0].methods[1:]))).markdown()
    row = next(line for line in text.splitlines() if line.startswith("| rewarded_soups"))
    assert _cells(row)[:3] == ["rewarded_soups", "0", "failed"]
    assert "rewarded_soups failed: RunError: loss is nan at step 3" in text


def test_a_name_cannot_break_the_table_or_the_terminal(runs) -> None:
    hostile = replace(runs[0].methods[0], name="\x1b[31ma|b\n<img src=x>[l](javascript:x)")
    text = method_table(replace(runs[0], methods=(hostile,))).markdown()
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if "img" in line)
    assert r"a\|b \<img src=x\>\[l\]" in row
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines()}) == 1


def test_cost_per_tradeoff(runs) -> None:
    table = cost_table(runs[0])
    row = dict(zip(table.columns, table.rows[-1], strict=True))
    assert row == {
        "method": "pareto_hqd", "policies": "11", "training": "16 s", "tokens": "1.4 M",
        "a trade-off": "1.5 s", "answers": "2.2 s", "a reply": "–",
    }  # fmt: skip


def test_cost_of_learning_is_told_from_cost_of_answering(runs) -> None:
    """22 s of training and 10 s of rounds for 4 trade-offs; 2 s for replies of half the cost."""
    run = runs[0]
    cost = Cost(22.0, 1000, 12.0, 900, 3, 4, answer_seconds=2.0, answer_tokens=400)
    base = Cost(0.0, 0, 1.0, 100, 0, 1, answer_seconds=1.0, answer_tokens=100)
    method = replace(run.methods[0], cost=cost, points=run.methods[0].points[:4])
    table = cost_table(replace(run, methods=(method,), reference=replace(run.reference, cost=base)))
    reference, row = (dict(zip(table.columns, r, strict=True)) for r in table.rows)
    assert (row["rounds"], row["a trade-off"], row["answers"]) == ("10 s", "8.0 s", "2.0 s")
    assert (row["a reply"], reference["a reply"]) == ("0.5 x", "1.0 x")
    assert (reference["training"], reference["answers"]) == ("–", "1.0 s")
    assert set(table.columns) - {"method"} == set(COSTS)
