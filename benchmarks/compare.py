"""The page of all methods on the embedded world, from finished comparisons.

    paretune compare recipes/compare_a.yaml recipes/compare_b.yaml recipes/compare_c.yaml
    python benchmarks/compare.py --runs runs --out docs/comparison.md

Nothing is trained: every number and sentence comes from ``comparison.json`` and the results of the
seeds. Pictures go to ``pictures/`` beside the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paretune.core.comparison_results import ComparisonResult
from paretune.core.results import RunResult
from paretune.pipeline.compare import load_comparison
from paretune.reporting.atomic import write_atomic
from paretune.reporting.comparison_figures import as_png, figures
from paretune.reporting.comparison_page import comparison_markdown
from paretune.reporting.comparison_tables import YARDSTICKS, plus_minus, shown_measure
from paretune.reporting.wording import listing

NAMES = ("compare-a", "compare-b", "compare-c")


def page(found: list[tuple[ComparisonResult, list[RunResult]]], folder: Path) -> str:
    """The page; figures are written beside it."""
    names = [result.name for result, _ in found]
    recipes = " ".join(f"recipes/{name.replace('-', '_')}.yaml" for name in names)
    parts = [
        "# Every method on the same data, budget and yardstick\n\nMade by `python "
        f"benchmarks/compare.py` from `paretune compare {recipes}`. The embedded world's front is "
        "known exactly, so every number stands beside what is possible.",
        summary([result for result, _ in found]),
    ]
    for result, runs in found:
        pictures = {}
        for name, figure in figures(result, runs).items():
            path = folder / "pictures" / f"{result.name}-{name}.png"
            pictures[name] = f"pictures/{write_atomic(path, as_png(figure)).name}"
        parts.append(
            f"## {result.name}: {listing(result.objectives)}\n\n"
            + comparison_markdown(result, pictures, "###").rstrip()
        )
    return "\n\n".join(parts) + "\n"


def summary(results: list[ComparisonResult]) -> str:
    """The three best of each yardstick, a row a comparison."""
    lines = [
        "| comparison | hypervolume, % of attainable | E[min], % of optimum |",
        "| --- | --- | --- |",
    ]
    for result in results:
        best = [best_three(result, yardstick) for yardstick in YARDSTICKS]
        lines.append(f"| {result.name}: {listing(result.objectives)} | {' | '.join(best)} |")
    return "\n".join(lines)


def best_three(result: ComparisonResult, yardstick: str) -> str:
    """Names and values of the leader and the next two."""
    measure = shown_measure(result, yardstick)
    found = {m.name: m.intervals[measure] for m in result.methods if measure in m.intervals}
    names = sorted(found, key=lambda name: -found[name].value)[:3]
    return ", ".join(f"{name} {plus_minus(found[name], 100, 1)}" for name in names) or "–"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.md"))
    parser.add_argument("--names", default=",".join(NAMES))
    args = parser.parse_args()
    found = [load_comparison(args.runs / name) for name in args.names.split(",")]
    write_atomic(args.out, page(found, args.out.parent).encode("utf-8"))
    print(args.out)


if __name__ == "__main__":
    main()
