"""The page in a browser: its key, its address, what goes wrong, and text that lies."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tests.serving.conftest import KEY, Client
from tests.web.conftest import Tab

HOSTILE = (
    "<img src=x onerror=alert(1)></script><script>alert(1)</script>{{7*7}}"
    "\u202egnp.exe\u202c \x1b[31mred \u05e9\u05dc\u05d5\u05dd"
)


def test_the_key_leaves_the_address_bar(tab: Tab) -> None:
    page = tab.open("t=0.7,0.3").page
    assert KEY not in page.url
    assert page.evaluate("history.length") <= 2
    assert tab.tradeoff == [0.7, 0.3]
    page.reload()
    page.locator("#main").wait_for()
    assert tab.tradeoff == [0.7, 0.3]
    assert page.title() == "tiny · paretune"


def test_without_the_key_it_is_asked_for(tab: Tab) -> None:
    page = tab.open(key=None).page
    field = page.get_by_label("Key", exact=True)
    field.wait_for()
    assert not page.locator("#main").is_visible()
    assert field.evaluate("field => field === document.activeElement")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.id === 'key'")
    field.fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("does not know this key").wait_for()
    field.fill("schlüssel")
    page.keyboard.press("Enter")
    page.get_by_text("does not know this key").wait_for()
    field.fill(KEY)
    page.get_by_role("button", name="Open").click()
    page.locator("#main").wait_for()
    assert not field.is_visible() and KEY not in page.url


def test_a_new_key_in_the_address_is_used_and_changes_nothing_else(tab: Tab) -> None:
    page = tab.open("tab=compare&t=0.7,0.3&prompt=w7", key=None).page
    page.get_by_label("Key", exact=True).wait_for()
    goto = "fragment => { location.hash = fragment; }"
    page.evaluate(goto, f"key={KEY}")
    page.locator("#main").wait_for()
    assert not page.locator("#key-dialog").is_visible() and KEY not in page.url
    page.evaluate(goto, "tab=compare&t=0.7,0.3&prompt=w7")
    page.evaluate(goto, "key=another")
    assert tab.fragment == "tab=compare&method=soups&t=0.7,0.3&prompt=w7"
    assert tab.tradeoff == [0.7, 0.3] and page.locator("#panel-compare").is_visible()
    assert page.evaluate("sessionStorage.getItem('paretune-key')") == "another"
    # With a place beside it, the page goes there.
    page.evaluate(goto, f"t=1,0&key={KEY}")
    page.wait_for_function("document.querySelector('pareto-front').tradeoff[0] === 1")
    assert KEY not in page.url


def test_an_address_shows_the_same_elsewhere_and_back_goes_back(
    tab: Tab, browser: Any, client: Client
) -> None:
    page = tab.open().page
    tab.drag(40, 60)
    there = tab.tradeoff
    tab.tab("Compare")
    page.get_by_label("Prompt for all columns").fill("w7 & w8 = 50 %, + ü #")
    page.get_by_label("Remove column 2").click()
    link = tab.fragment
    other = Tab(browser, client).open(link)
    assert other.tradeoff == there
    assert (
        other.page.get_by_label("Prompt for all columns").input_value() == "w7 & w8 = 50 %, + ü #"
    )
    assert other.page.locator(".column").count() == 2
    assert other.fragment == link
    other.context.close()
    assert other.complaints == []
    page.go_back()
    assert page.locator(".column").count() == 3
    page.go_back()
    assert page.get_by_role("tab", name="Chat").get_attribute("aria-selected") == "true"
    assert tab.tradeoff == there
    page.go_back()
    assert tab.tradeoff == [0.5, 0.5]
    page.go_forward()
    assert tab.tradeoff == there


def test_the_address_is_where_a_hand_that_moved_quickly_came_to_rest(tab: Tab) -> None:
    page = tab.open().page
    before = page.evaluate("history.length")
    slider = page.locator("pareto-front").get_by_label("Weight of helpful")
    moved = """slider => {
      for (let n = 0; n <= 600; n += 1) {
        slider.value = n % 71;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
      }
    }"""
    slider.evaluate(moved)
    assert tab.tradeoff == [0.32, 0.68]
    assert tab.fragment == "tab=chat&method=soups&t=0.32,0.68"
    assert page.evaluate("history.length") <= before + 1
    # What is not written yet when the next entry of the history begins is written in its own.
    page.get_by_label("Message").fill("w7")
    tab.tab("Compare")
    page.go_back()
    assert tab.fragment == "tab=chat&method=soups&t=0.32,0.68&prompt=w7"


def test_a_browser_that_refuses_another_address_shows_the_page_all_the_same(tab: Tab) -> None:
    page = tab.open().page
    page.evaluate("""() => {
      const refuse = () => { throw new DOMException("too many", "SecurityError"); };
      history.pushState = history.replaceState = refuse;
    }""")
    page.locator("pareto-front").get_by_label("Weight of helpful").fill("30")
    tab.tab("Compare")
    assert page.locator("#panel-compare").is_visible()
    assert "30" in page.locator(".column h3").nth(1).inner_text()


def test_a_page_that_is_left_at_once_is_found_again(tab: Tab) -> None:
    page = tab.open().page
    page.get_by_label("Message").fill("w7 w8")
    page.goto("about:blank")
    page.go_back()
    page.locator("#main").wait_for()
    assert page.get_by_label("Message").input_value() == "w7 w8"


def test_weights_that_somebody_rounded_are_made_whole(tab: Tab) -> None:
    page = tab.open("tab=compare&t=0.66,0.33&columns=soups@0.6,0.4005;soups@0.333,0.666").page
    assert tab.tradeoff == [0.6667, 0.3333]
    assert "t=0.6667,0.3333&columns=soups%400.5997,0.4003%3Bsoups%400.3333,0.6667" in tab.fragment
    tab.say("w7", "Prompt for all columns")
    for n in range(2):
        tab.reply(n)
    assert page.get_by_role("alert").count() == 0


def test_an_address_that_means_nothing_harms_nothing(tab: Tab) -> None:
    page = tab.open().page
    for fragment in (
        "tab=x&method=y&t=1,1&columns=a;b&user=%00", "user=..", "t=NaN,1", "t=-1,2", "%E0%A4%A",
        "&&=",
        "columns=soups@1,0;soups@2,2", "prompt=" + "x" * 3000,
    ):  # fmt: skip
        page.evaluate("fragment => { location.hash = fragment; }", "t=1,0")
        page.wait_for_function("document.querySelector('pareto-front').tradeoff[0] === 1")
        page.evaluate("fragment => { location.hash = fragment; }", fragment)
        page.wait_for_function("document.querySelector('pareto-front').tradeoff[0] === 0.5")
        assert page.locator("#panel-chat").is_visible()
        page.reload()
        page.locator("#main").wait_for()
        assert tab.tradeoff == [0.5, 0.5]
        assert not page.locator("#as-user").is_visible()


def test_what_goes_wrong_is_said_where_it_happens(tab: Tab) -> None:
    page = tab.open().page
    tab.fake("v1/chat/completions", {"error": {"message": "full"}}, 429, **{"Retry-After": "1"})
    tab.say("w7")
    alert = page.locator("#panel-chat").get_by_role("alert")
    alert.wait_for()
    assert "busy" in alert.inner_text()
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Try again", exact=True).click()
    tab.reply()
    assert alert.count() == 0
    tab.fake("v1/chat/completions", {"error": {"message": "out of memory"}}, 500)
    tab.say("w8")
    page.get_by_text("The server failed: out of memory").wait_for()
    page.unroute("**/v1/chat/completions")
    tab.fake("v1/chat/completions", {"error": {"message": "max_tokens: too many"}}, 422)
    tab.say("w9")
    page.get_by_text("max_tokens: too many").wait_for()
    page.unroute("**/v1/chat/completions")
    half = 'data: {"choices": [{"delta": {"content": "half a"}}]}\n\n'
    tab.fake("v1/chat/completions", half, kind="text/event-stream")
    tab.say("w10")
    page.get_by_text("The server stopped in the middle of the reply.").wait_for()
    assert page.get_by_text("half a").is_visible()
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    tab.say("w11")
    page.get_by_text("The server does not answer.").wait_for()


def test_a_page_whose_server_is_gone_is_not_blank(tab: Tab) -> None:
    tab.page.route("**/api/front", lambda route: route.abort())
    tab.page.goto(f"{tab.address}#key={KEY}")
    tab.page.get_by_text("The server does not answer.").wait_for()
    assert KEY not in tab.page.url
    tab.page.unroute("**/api/front")
    tab.page.get_by_role("button", name="Try again").click()
    tab.page.locator("#main").wait_for()


def test_text_of_models_is_never_markup(tab: Tab) -> None:
    result = tab.client.service.result
    names = (f"a{HOSTILE}", f"b{HOSTILE}")
    soups = dataclasses.replace(result.methods[0], name=HOSTILE)
    sample = dataclasses.replace(result.samples[0], method=HOSTILE, prompt=HOSTILE)
    chunk = {"choices": [{"delta": {"content": HOSTILE}, "finish_reason": "stop"}],
             "paretune": {"preference_asked": {}, "preference_used": {}, "method": HOSTILE,
                          "steering": HOSTILE}}  # fmt: skip
    tab.fake("v1/chat/completions", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n",
             kind="text/event-stream")  # fmt: skip
    tab.fake("api/users", {"users": [{"id": HOSTILE, "answers": 1, "tradeoff": {HOSTILE: 1}}]})
    side = {"reply": HOSTILE}
    tab.fake("api/users/*/question", {
        "user": "eve", "number": 1, "enough": True,
        "question": {"id": "q", "prompt": HOSTILE, "first": side, "second": side},
        "estimate": {"tradeoff": {}, "low": {}, "high": {}, "utility": {HOSTILE: 1, "b": 0}},
        "served": {"tradeoff": {names[0]: 1}, "method": HOSTILE},
    })  # fmt: skip
    tab.fake("api/rewards", {"objectives": names, "rewards": [[1, 2]] * 3, "unit": [[0, 1]] * 3})
    page = tab.show(
        dataclasses.replace(result, objectives=names, methods=(soups,), samples=(sample,))
    ).page
    elements = "document.querySelectorAll('img, script:not([src]), iframe, [onerror]').length"
    tab.say(HOSTILE)
    tab.reply()
    said = page.locator(".theirs .said").inner_text()
    assert "<img src=x onerror=alert(1)></script>" in said and "{{7*7}}" in said
    assert not set("\u202e\u202c\x1b") & set(page.locator("body").inner_text())
    page.locator(".pf-own .pf-point").first.hover(force=True)
    tab.tab("Compare")
    tab.say(HOSTILE, "Prompt for all columns")
    page.locator(".bars").first.wait_for()
    tab.tab("Find my trade-off")
    page.get_by_label("Your name").fill("eve")
    page.keyboard.press("Enter")
    page.locator(".option").first.wait_for()
    page.get_by_text("Who was asked").click()
    assert page.evaluate(elements) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_tabs_and_the_whole_page_work_without_a_mouse(tab: Tab) -> None:
    page = tab.open().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-chat"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-compare"
    assert page.locator("#panel-compare").is_visible()
    # Whatever can be pressed or filled in has a name.
    unnamed = page.evaluate("""() => {
      const isNamed = node => node.getAttribute('aria-label') || node.textContent.trim()
        || node.labels?.length;
      const all = document.querySelectorAll('button, input, select, textarea, [role=slider]');
      return [...all].filter(node => !isNamed(node)).map(node => node.outerHTML);
    }""")
    assert unnamed == []
    assert page.locator("[aria-live]").count() == 1
