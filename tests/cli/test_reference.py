from pathlib import Path

import pytest

from paretune.cli.reference import cli_page, papers_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("name", "page"), [("cli.md", cli_page), ("papers.md", papers_page)])
def test_generated_pages_are_up_to_date(name, page):
    assert (DOCS / name).read_text(encoding="utf-8") == page(), "run `make docs`"
