"""The part of the report that moves: opened from disk, as a person would."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.results import RunResult, Sample
from paretune.reporting.explorer import explorer_data, explorer_scripts
from paretune.reporting.look import looks
from paretune.reporting.report import write_report

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome")
                 if (p := shutil.which(n))), None)  # fmt: skip
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")

HOSTILE = "</script><script>document.title='x'</script><img src=x onerror=alert(1)>\u2028<!--"


def said(method: str, prompt: str, replies: list[str], weights: list[float]) -> Sample:
    tradeoffs = tuple((w, round(1 - w, 6)) for w in weights)
    rewards = tuple((w, 0.25) for w in weights)
    return Sample(method, prompt, tuple(replies), rewards, tradeoffs)


@pytest.fixture(scope="module")
def run(runs: list[RunResult]) -> RunResult:
    """Two prompts: `dpo` answered three trade-offs, `rewarded_soups` two."""
    samples = tuple(
        sample
        for prompt in ("first prompt", f"second {HOSTILE}")
        for sample in (
            said("rewarded_soups", prompt, ["soup low", "soup high"], [0.2, 0.8]),
            said("dpo", prompt, ["none", HOSTILE, "all"], [0.0, 0.5, 1.0]),
        )
    )
    return replace(runs[0], samples=samples, methods=runs[0].methods[:2])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-quic"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("report") / "report.html"
    return write_report([run], page, stepped=[("dpo", "unknown")])


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def opened(chromium: Any, path: Path, complaints: list[str]) -> Iterator[Any]:
    """The page of the run, opened from disk; what it asks for or complains of is in a list."""
    page = chromium.new_context(reduced_motion="reduce").new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append("dialog"))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(path.as_uri())
    assert complaints == [path.as_uri()]
    complaints.clear()
    yield page
    page.context.close()


def replies(page: Any) -> dict[str, str]:
    """Method to the text of its card."""
    cards = page.locator(".xp-card").all()
    return {c.get_attribute("aria-label"): c.locator(".said").text_content() for c in cards}


def weights(page: Any) -> list[str]:
    """Of every card, the trade-off that is really shown."""
    return [" ".join(text.split()) for text in page.locator(".xp-at").all_text_contents()]


def move(page: Any, n: int, value: int) -> None:
    page.locator(".explorer input[type=range]").nth(n).fill(str(value))


@needs_browser
def test_a_slider_changes_the_replies_to_the_nearest_ones(opened: Any) -> None:
    opened.get_by_text("Read the replies").click()
    move(opened, 0, 74)
    assert replies(opened) == {"rewarded_soups": "soup high", "dpo": HOSTILE}
    move(opened, 0, 76)
    assert replies(opened) == {"rewarded_soups": "soup high", "dpo": "all"}
    assert "helpful 80 %, concise 20 %(the nearest that is kept)" in weights(opened)
    move(opened, 1, 100)  # the weight of concise
    assert replies(opened) == {"rewarded_soups": "soup low", "dpo": "none"}
    assert "helpful 0 %, concise 100 %" in weights(opened)
    said_at = re.compile(r"2 replies at helpful 0\s%, concise 100\s%")
    opened.locator(".xp-status", has_text=said_at).wait_for(state="attached")


@needs_browser
def test_the_handle_moves_with_keys_and_follows_another_method(opened: Any) -> None:
    front = opened.locator("pareto-front")
    before = front.evaluate("front => front.tradeoff")
    assert before == [0.5, 0.5]
    opened.locator(".pf-handle").focus()
    opened.keyboard.press("End")
    assert front.evaluate("front => front.tradeoff") != before
    opened.get_by_label("The handle follows").select_option("dpo")
    assert front.evaluate("front => front.method") == "dpo"


@needs_browser
def test_between_two_policies_nothing_is_said_of_a_method_that_has_none_there(opened: Any) -> None:
    where, follow = opened.locator(".pf-place"), opened.get_by_label("The handle follows")
    move(opened, 0, 74)
    follow.select_option("rewarded_soups")
    where.get_by_text("rewarded_soups").wait_for()
    assert "between two measured points, interpolated" in where.text_content()
    follow.select_option("dpo")
    where.get_by_text("dpo").wait_for()
    said = re.sub(r"\s", " ", where.text_content())
    assert "answered by the nearest point: helpful 70 %, concise 30 %" in said
    shown = opened.locator(".explorer .pf-mean b").first.text_content()
    at = "front => front.result.methods.find(m => m.name === 'dpo').points"
    points = opened.locator("pareto-front").evaluate(at)
    mean = next(p["means"][0]["value"] for p in points if round(p["tradeoff"][0], 6) == 0.7)
    assert shown == f"{mean:.3f}"


@needs_browser
def test_methods_and_prompts_are_chosen_without_a_mouse(opened: Any, complaints: list[str]) -> None:
    opened.get_by_text("Read the replies").focus()
    opened.keyboard.press("Enter")
    opened.get_by_role("checkbox", name="dpo").focus()
    opened.keyboard.press("Space")
    assert set(replies(opened)) == {"rewarded_soups"}
    assert opened.locator("pareto-front").evaluate("front => front.methods") == ["rewarded_soups"]
    opened.get_by_role("button", name="Next prompt").focus()
    opened.keyboard.press("Enter")
    assert opened.locator(".xp-prompt").text_content() == f"second {HOSTILE}"
    opened.get_by_role("checkbox", name="rewarded_soups").uncheck()
    assert "Choose a method" in opened.locator(".xp-cards").text_content()
    # What others wrote was shown, and stayed text.
    assert opened.locator("img").count() == 0
    assert opened.title() == "brevity · paretune"
    assert complaints == []


@needs_browser
def test_replies_are_hidden_until_they_are_asked_for(opened: Any) -> None:
    assert not opened.locator(".xp-card").first.is_visible()
    assert opened.locator("pareto-front").is_visible()


@needs_browser
def test_nothing_is_wider_than_a_phone(opened: Any) -> None:
    opened.set_viewport_size({"width": 360, "height": 700})
    opened.get_by_text("Read the replies").click()
    opened.wait_for_timeout(100)
    wide = opened.evaluate(
        "[...document.querySelectorAll('#explore *')].filter((node) =>"
        " node.getBoundingClientRect().right > innerWidth + 0.5).map((node) => node.className)"
    )
    assert wide == []


@needs_browser
def test_only_the_scripts_of_the_package_run(chromium: Any, path: Path, tmp_path: Path) -> None:
    page, changed, script = chromium.new_page(), tmp_path / "changed.html", "document.title = 'x'"
    changed.write_text(path.read_text().replace("</body>", f"<script>{script}</script></body>"))
    page.goto(changed.as_uri())
    assert page.locator(".explorer pareto-front").count() == 1
    assert page.title() == "brevity · paretune"
    page.close()


@needs_browser
def test_without_scripts_the_rest_of_the_page_is_there(chromium: Any, path: Path) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(path.as_uri())
    assert not page.locator("#explore").is_visible()
    assert not page.get_by_role("link", name="Explore").is_visible()
    for section in ("short", "fronts", "steering", "methods", "replies", "cost", "about"):
        assert page.locator(f"#{section}").is_visible()
    page.context.close()


def test_data_holds_no_sign_that_html_or_scripts_read(run: RunResult) -> None:
    text = explorer_data(run, looks([run]))
    assert not set("<>&\u2028\u2029") & set(text)
    data = json.loads(text)
    assert RunResult.from_json(data["result"]).samples == run.samples
    assert data["looks"]["dpo"]["variable"] == "--m1"
    assert data["stepped"] == []


def test_scripts_cannot_end_early() -> None:
    for script in explorer_scripts():
        assert not re.search(r"</script|<!--", script, re.I)
        assert "innerHTML" not in script and "eval(" not in script
