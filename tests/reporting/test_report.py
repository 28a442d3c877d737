"""The page: self-contained, safe whatever the models said, and readable by a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paretune.core.personalization import CellResult, PersonalizationResult, WinResult
from paretune.core.results import Interval, KnownFront, RunResult, Sample
from paretune.errors import InputError
from paretune.reporting.report import render_report, write_report

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% for x in y %}",
    "${7*7}",
    "javascript:alert(1)",
    "</style></title></details></pre><iframe src=//example.org>",
    "]]><!--",
    "\x1b[31m\x00\ud800",
    "&lt;b&gt;",
)


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.values: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.elements[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.values += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def with_texts(run: RunResult, text: str) -> RunResult:
    """A small run in which every text an outsider may choose is ``text`` and a number."""
    names = {m.name: f"{text}{i}" for i, m in enumerate(run.methods[:2])}
    methods = tuple(
        replace(
            m, name=names[m.name], failed=text if i else None,
            points=tuple(replace(p, policy=text) for p in m.points[:3]),
        )
        for i, m in enumerate(run.methods[:2])
    )  # fmt: skip
    samples = tuple(
        Sample(names[s.method], f"{text}{i // 2}", (text,) * len(s.replies), s.rewards, s.tradeoffs)
        for i, s in enumerate(s for s in run.samples if s.method in names)
    )
    differences = tuple(
        replace(d, first=names[d.first], second=names[d.second])
        for d in run.differences
        if {d.first, d.second} <= set(names)
    )
    return replace(
        run, name=text, objectives=(f"{text}1", f"{text}2"), methods=methods, samples=samples,
        box_from=text, notes=(text, text), facts={f"{text}{i}": text for i in range(3)},
        differences=differences,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(runs) -> str:
    return render_report(runs, command="paretune quickstart --seed 0")


@pytest.fixture(scope="module")
def harmless(runs) -> Page:
    return Page(render_report([with_texts(runs[0], "harmless")], command="harmless"))


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_stays_text(runs, harmless: Page, text: str) -> None:
    """The page has the elements and attributes it has with a harmless text in all places."""
    html = render_report([with_texts(runs[0], text)], command=text)
    html.encode("utf-8")
    found = Page(html)
    assert found.elements == harmless.elements
    assert found.open == harmless.open == []
    assert "\x1b" not in html and "\x00" not in html
    if text.isprintable():
        assert text in found.text


def test_links_lead_nowhere_but_the_page(runs) -> None:
    found = Page(render_report([with_texts(runs[0], "javascript:alert(1)")]))
    for name, value in found.values:
        assert not name.startswith("on")
        if name in ("href", "src", "action", "formaction", "poster", "data", "srcset"):
            assert value.startswith("#") or value == "data:,"


def test_the_page_forbids_requests_and_all_scripts_but_its_own(page: str) -> None:
    policy = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; {}"
    rest = "base-uri 'none'; form-action 'none'"
    # Written out here: the page must not be its own witness.
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in re.findall(r"<script>(.*?)</script>", page, re.S)
    ]
    assert len(hashes) == 2
    policies = [v for n, v in Page(page).values if n == "content" and "default-src" in v]
    assert policies == [policy.format(" ".join(hashes), rest)]
    assert page.index("Content-Security-Policy") < page.index("<style>")
    kinds = Counter(re.findall(r"<script[^>]*>", page))
    assert kinds["<script>"] == 2
    assert all(kind == "<script>" or 'type="application/json"' in kind for kind in kinds)
    without = page.replace("http://www.w3.org/2000/svg", "")  # a name, never an address
    assert not re.search(r"https?://|@import|url\((?!#)", without)


def test_the_page_says_what_matters(page: str, runs) -> None:
    text = Page(page).text
    for wanted in (
        "4 methods steered between helpful and concise",
        "Best front of averages", "Best single replies", "Cheapest training",
        "best 11 policies", "best possible", "reference policy", "attainable on average",
        "paretune quickstart --seed 0", "declared range of the rewards", "torch", "2.13.0",
        "Replies are judged by the rewards that also selected the training data.",
    ):  # fmt: skip
        assert wanted in text
    for run in runs:
        for method in run.methods:
            assert f"{method.hypervolume.value:.3f}" in text
            assert f"[{method.utility_min.low:.3f}, {method.utility_min.high:.3f}]" in text


def test_replies_are_behind_a_click(page: str, runs) -> None:
    """Every prompt and reply lies inside a closed <details>, or in data that scripts read."""
    page = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    start = page.index('<section id="replies">')
    outside = page[:start] + page[page.index("</section>", start) :]
    inside = page[start : page.index("</section>", start)]
    assert '<details class="block"><summary>Show the replies' in inside
    for sample in runs[0].samples:
        assert sample.prompt in inside and sample.prompt not in outside
        assert all(reply in inside and reply not in outside for reply in sample.replies)


def test_every_drawing_is_on_the_page(page: str) -> None:
    assert page.count("<figure>") == page.count("</figure>") == 2 + 4
    assert page.count('class="point"') == 2 * (44 + 1) + 4 * 44


def test_one_column_without_numbers_is_left_out(runs) -> None:
    text = Page(render_report([replace(runs[0], known=None, samples=())])).text
    assert "of limit" not in text and "best possible" not in text
    assert "Replies along" not in text


def with_users(run: RunResult, name: str, note: str = "Judged by programs.") -> RunResult:
    """The run with one method measured on users."""
    own, gap = Interval(0.9, 0.85, 0.95), Interval(0.2, 0.1, 0.3)
    found = PersonalizationResult(
        name, run.objectives, 40, own, Interval(0.7, 0.6, 0.8), gap, {0: gap, 8: own},
        (CellResult(True, True, own, 40, 400), CellResult(False, True, gap, 99, 400)),
        (WinResult("zero-shot", own, (own, gap), "users", 40, 160),), (0.9, None), own,
        (0.25, 0.75), (note,), {note: note},
    )  # fmt: skip
    return replace(run, personalization=(found,))


def test_users_have_a_section_where_there_are_any(runs, page: str) -> None:
    assert 'id="users"' not in page and 'href="#users"' not in page
    found = Page(render_report([with_users(runs[0], runs[0].methods[0].name)])).text
    for wanted in (
        "it prefers what 40 new users prefer in 90% of cases", "+0.200", "[0.100, 0.300]",
        "8 pairs", "seen user, new prompt", f"{runs[0].methods[0].name} / zero-shot",
        "concise (75%)", "Judged by programs.", "when the prompt says nothing about the user",
    ):  # fmt: skip
        assert wanted in found


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_about_users_stays_text(runs, text: str) -> None:
    safe = Page(render_report([with_users(runs[0], "harmless", "harmless")]))
    found = Page(render_report([with_users(runs[0], text, text)]))
    assert found.elements == safe.elements and found.open == []


def test_a_failed_method_is_shown_with_its_reason(runs) -> None:
    gone = replace(
        runs[0].methods[0], points=(), hypervolume=None, utility_min=None,
        utility_chebyshev=None, controllability=(None, None), distance=None,
        largest_gap=None, failed="RunError: loss is nan",
    )  # fmt: skip
    text = Page(render_report([replace(runs[0], methods=(gone, *runs[0].methods[1:]))])).text
    assert "failed: RunError: loss is nan" in text
    alone = Page(render_report([replace(runs[0], methods=(gone,), differences=())])).text
    assert "Every method failed" in alone


def test_three_objectives(run_of_three) -> None:
    html = render_report([run_of_three])
    assert html.count("<figure>") == 3 + 3
    assert Page(html).open == []


def test_bare_results_make_a_page(runs) -> None:
    bare = RunResult("bare", ("a", "b"), (0, 0), (1, 1), "declared", None, runs[0].methods[:1])
    known = replace(bare, known=KnownFront(((1, 1),), ((1, 1),), 1.0))
    for run in (bare, known):
        assert Page(render_report([run])).open == []


def test_the_same_run_gives_the_same_page(page: str, runs) -> None:
    assert render_report(runs, command="paretune quickstart --seed 0") == page


def test_the_file_is_written_in_full(page: str, runs, tmp_path: Path) -> None:
    path = write_report(runs, tmp_path / "report.html", command="paretune quickstart --seed 0")
    assert path.read_text(encoding="utf-8") == page
    with pytest.raises(InputError, match="no run"):
        write_report([], tmp_path / "none.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome")
                 if (p := shutil.which(n))), None)  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")
def test_a_browser_opens_it_without_a_complaint(runs, run_of_three, tmp_path: Path) -> None:
    shown = [runs[0], run_of_three, with_texts(runs[1], " ".join(HOSTILE[:8]))]
    path = write_report(shown, tmp_path / "report.html", command="x")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}",
            "--window-size=1200,2000", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (tmp_path / "page.png").stat().st_size > 50_000, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
