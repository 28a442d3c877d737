"""Every Python example of the documentation runs, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATED = {"docs/cli.md", "docs/papers.md", "docs/benchmarks.md"}
"""Pages that commands write: they may be missing in a fresh tree."""
OWN_TESTS = {"docs/reference/data.md", "docs/explanation/handy.md"}
"""Pages whose examples need files or checks of their own: tests/data, tests/bench."""
_BLOCK = re.compile(r"(<!-- file: \S+ -->\n)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """Page and source of every block, but sketches (with ``...`` bodies) and files."""
    return [
        (str(page.relative_to(ROOT)), source)
        for page in PAGES
        for is_file, source in _BLOCK.findall(page.read_text())
        if not is_file and ": ..." not in source and str(page.relative_to(ROOT)) not in OWN_TESTS
    ]


@pytest.mark.parametrize(
    ("page", "source"), [pytest.param(p, s, id=f"{p}-{i}") for i, (p, s) in enumerate(examples())]
)
def test_example_runs(page: str, source: str) -> None:
    exec(compile(source, page, "exec"), {})


def test_there_are_examples() -> None:
    assert "docs/howto/rewards.md" in {page for page, _ in examples()}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?://)([^)#\s]+)", text):
        target = (page.parent / link).resolve()
        if str(target.relative_to(ROOT.resolve())) not in GENERATED:
            assert target.exists(), f"{page}: {link}"
