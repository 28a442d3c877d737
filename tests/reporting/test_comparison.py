"""The page of a comparison: tables, sentences and figures made from its numbers."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from paretune.core.interval import Interval
from paretune.reporting.comparison_figures import as_png, figures
from paretune.reporting.comparison_page import (
    comparison_markdown,
    render_comparison,
    write_comparison,
)
from paretune.reporting.comparison_tables import (
    broken_table,
    cost_table,
    duel_table,
    plus_minus,
    quality_table,
    search_table,
    shown_measure,
)
from paretune.reporting.comparison_words import findings, leader, rivals, what_was_compared


def with_means(result, **means):
    """The same comparison with other hypervolumes (shares) and no width."""
    methods = []
    for method in result.methods:
        value = means.get(method.name)
        intervals = dict(method.intervals)
        if value is not None:
            intervals["hypervolume_share"] = Interval(value, value - 0.1, value + 0.1)
        methods.append(replace(method, intervals=intervals))
    return replace(result, methods=tuple(methods))


def test_mean_and_half_of_the_interval():
    assert plus_minus(Interval(0.5, 0.25, 0.75), 100, 1) == "50.0 ± 25.0"
    assert plus_minus(Interval(-0.5, -1.0, 0.0), 1, 2) == "-0.50 ± 0.50"


def test_quality_has_the_best_in_bold_and_failures_below(compared):
    result = with_means(compared[0], rewarded_soups=0.5, dpo=0.75, modpo=0.7, pareto_hqd=0.6)
    table = quality_table(result)
    column = table.columns.index("hypervolume, % of attainable")
    assert [row[column] for row in table.rows] == [
        "50.0 ± 10.0", "**75.0 ± 10.0**", "70.0 ± 10.0", "60.0 ± 10.0", "–",
    ]  # fmt: skip
    assert [row[0] for row in table.rows] == [m.name for m in result.methods]
    assert "steers helpful" in table.columns and "steers concise" in table.columns
    assert table.notes == ("sft: failed on 1 of 3 seeds: x|y",)
    assert "x\\|y" in table.markdown()


def test_without_a_known_front_the_box_is_what_is_possible(compared):
    result, runs = compared
    blind = [replace(run, known=None) for run in runs]
    from paretune.evaluation.comparison import over_seeds

    methods = tuple(
        over_seeds(blind, m.name, m.method, {}) for m in result.methods if m.failed is None
    )
    unknown = replace(result, methods=methods, shares_of="the unit box")
    assert shown_measure(unknown, "hypervolume") == "hypervolume"
    assert shown_measure(result, "hypervolume") == "hypervolume_share"
    columns = quality_table(unknown).columns
    assert "hypervolume, % of the box" in columns and "% of the best K policies" not in columns
    assert "of the box" in findings(unknown)[0]
    assert figures(unknown, blind).keys() == {"fronts", "quality", "cost"}


def test_cost_counts_the_search_beside_the_training(compared):
    table = cost_table(compared[0])
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["dpo"]["settings tried"] == "3 of 4"
    assert rows["dpo"]["search, CPU"] == "26 s"
    assert rows["modpo"]["settings tried"] == "1 of 4" and rows["modpo"]["search, CPU"] == "–"
    assert rows["modpo"]["training, CPU s"] == "62 ± 0"  # with the replies that it learned from
    assert rows["modpo"]["CPU s a trade-off"] == "5.7"
    assert rows["rewarded_soups"]["policies stored"] == "2"


def test_every_setting_is_told_and_one_is_chosen(compared):
    table = search_table(compared[0])
    assert [row[1] for row in table.rows] == ["beta 0.1", "beta 0.5", "beta 9.0"]
    assert [row[-1] for row in table.rows] == ["", "chosen", "failed"]
    assert table.rows[1][2:5] == ("72.0", "80.0", "64.0")
    nothing = replace(compared[0], methods=tuple(replace(m, tried=()) for m in compared[0].methods))
    assert search_table(nothing) is None


def test_duels_are_a_matrix_without_its_diagonal(compared):
    result = compared[0]
    table = duel_table(result, "hypervolume")
    assert table.columns == ("better than", "1", "2", "3", "4")
    assert [row[0] for row in table.rows] == [
        "1. rewarded_soups", "2. dpo", "3. modpo", "4. pareto_hqd",
    ]  # fmt: skip
    assert all(table.rows[i][1 + i] == "–" for i in range(4))
    assert duel_table(replace(result, duels=()), "hypervolume") is None


def test_sentences_name_the_leader_and_whom_it_does_not_surely_beat(compared):
    result = with_means(compared[0], rewarded_soups=0.5, dpo=0.75, modpo=0.7, pareto_hqd=0.6)
    odds = {"rewarded_soups": 1.0, "modpo": 0.7, "pareto_hqd": 0.95}
    made = tuple(
        replace(d, probability=odds[d.second])
        if d.measure == "hypervolume" and d.first == "dpo"
        else d
        for d in result.duels
    )
    result = replace(result, duels=made)
    assert leader(result, "hypervolume").name == "dpo"
    assert rivals(result, "hypervolume") == [("modpo", 0.7)]
    said = findings(result)
    assert "dpo leads with 75.0 ± 10.0 % of what is attainable" in said[0]
    assert "cannot tell it from modpo (70%)." in said[0]
    assert any(text.startswith("Training cost from 19 s of CPU (pareto_hqd)") for text in said)
    assert said[-1].startswith("sft is left out: failed on 1 of 3 seeds")
    sure = replace(result, duels=tuple(replace(d, probability=1.0) for d in made))
    assert "ahead of every other method" in findings(sure)[0]
    assert "between equals 3 seeds agree by chance in 1 of 4 cases" in findings(sure)[0]
    assert "by chance" not in findings(replace(sure, seeds=(0, 1, 2, 3, 4)))[0]
    assert "5 methods on helpful and concise" in what_was_compared(result)
    assert "3 seeds" in what_was_compared(result)


def test_broken_replies_by_cause(compared):
    table = broken_table(compared[0])
    assert table.columns[:2] == ("method", "collapsed %") and "malformed %" in table.columns


@pytest.mark.parametrize("name", ["fronts", "quality", "cost"])
def test_the_same_comparison_gives_the_same_picture(compared, name):
    pictures = [as_png(figures(*compared)[name]) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")


def test_three_objectives_have_a_panel_for_every_two(compared, run_of_three):
    result = replace(compared[0], objectives=run_of_three.objectives)
    drawn = figures(result, [run_of_three] * 3)["fronts"]
    assert len(drawn.axes) == 4 * 3  # methods that did not fail, pairs


def test_the_page_loads_nothing_and_escapes_everything(compared, tmp_path):
    result, runs = compared
    evil = "<script>alert(1)</script>"
    methods = tuple(replace(m, name=evil) if m.name == "sft" else m for m in result.methods)
    result = replace(result, name=evil, methods=methods, notes=(evil,), facts={evil: evil})
    page = render_comparison(result, runs, figures(result, runs))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#|data:,)', page)
    assert page.count('<b class="best">') >= 4 and "**" not in page


def test_files_of_a_comparison(compared, tmp_path):
    result, runs = compared
    page = write_comparison(result, runs, tmp_path)
    assert page == tmp_path / "comparison.html"
    assert {p.name for p in tmp_path.iterdir()} == {
        "comparison.html", "comparison.md", "fronts.png", "quality.png", "cost.png",
    }  # fmt: skip
    text = (tmp_path / "comparison.md").read_text()
    assert text.startswith("# brevity compared\n")
    assert "![" in text and "(quality.png)" in text
    assert text == "# brevity compared\n\n" + comparison_markdown(
        result, {n: f"{n}.png" for n in ("fronts", "quality", "cost")}
    )
    rules = [line for line in text.splitlines() if re.fullmatch(r"\|[-:| ]+\|", line)]
    assert len(rules) == 6
    assert all(re.fullmatch(r"-+:?", cell.strip()) for r in rules for cell in r[1:-1].split("|"))


HOSTILE = (
    "</script><img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "' onmouseover='alert(1)",
    "{{7*7}}", "${7*7}$", "javascript:alert(1)", "</style></title><iframe>", "a\u2028b\x1b[31m",
    "**x", "$\\frac{",
)  # fmt: skip


def page_of(compared, text):
    """The page with every text that an outsider may choose in it."""
    result, runs = compared
    methods = tuple(
        replace(m, name=f"{n}{text}", failed=text) if m.failed else m
        for n, m in enumerate(result.methods)
    )
    objectives = tuple(f"{n}{text}" for n in range(2))
    result = replace(
        result, name=text, methods=methods, notes=(text,), facts={text: text},
        objectives=objectives, runs=tuple(f"{r}{text}" for r in result.runs),
    )  # fmt: skip
    runs = [replace(run, name=text, objectives=objectives) for run in runs]
    return render_comparison(result, runs, figures(result, runs))


def elements_of(page):
    found = Counter()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.update([tag, *(f"@{a}" for a, _ in attrs)])
    parser.feed(page)
    parser.close()
    return found


@pytest.fixture(scope="module")
def harmless(compared):
    return elements_of(page_of(compared, "harmless"))


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_stays_text(compared, harmless, text):
    page = page_of(compared, text)
    found = elements_of(page)
    # Names are cut to fit: glyph outlines and ticks of figures may differ, nothing else.
    drawn = {"path", "use", "g", "text", "tspan", "defs", "@d", "@id", "@style", "@href", "@x",
             "@y", "@transform", "@class"}  # fmt: skip
    assert {n for n in found if n not in drawn} == {n for n in harmless if n not in drawn}
    for name in ("script", "img", "iframe", "a", "p", "td", "th", "li", "b", "meta", "@onerror"):
        assert found[name] == harmless[name], name
    assert "\x1b" not in page
