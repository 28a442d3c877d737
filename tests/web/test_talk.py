"""Replies on the page: they grow, stop, stand side by side, and are chosen from."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import Client, tokenizer
from tests.web.conftest import Tab, score

from paretune.engines.lm.encode import Encoder
from paretune.serving.words import Words


def test_a_reply_grows_and_says_what_it_was_made_with(tab: Tab) -> None:
    page = tab.open("t=0.7,0.3").page
    tab.slow(0.08)
    page.get_by_text("Settings of replies").click()
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Most tokens").fill("12")
    tab.say("w7 w8")
    said = page.locator(".theirs .said")
    lengths = set()
    while page.locator(".reply[aria-busy]").count():
        lengths.add(len(said.inner_text()))
    assert len(lengths) > 2
    _, whole = tab.client.json("POST", "/v1/chat/completions", {
        "model": "tiny", "messages": [{"role": "user", "content": "w7 w8"}], "seed": 5,
        "preference": {"helpful": 0.7, "harmless": 0.3}, "max_tokens": 12,
    })  # fmt: skip
    assert said.inner_text() == whole["choices"][0]["message"]["content"]
    facts = tab.reply().locator(".facts").inner_text().replace("\u00a0", " ")
    assert facts.startswith("helpful 70 %, harmless 30 % · soups, merge · seed 5")
    assert page.get_by_label("Message").input_value() == ""
    # The next message brings those before it.
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w9")
    turns = [(m["role"], m["content"]) for m in sent.value.post_data_json["messages"]]
    assert turns == [("user", "w7 w8"), ("assistant", said.first.inner_text()), ("user", "w9")]
    tab.reply(1)
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".log li").count() == 0


def test_stop_ends_the_reply_here_and_on_the_server(tab: Tab) -> None:
    page = tab.open().page
    tab.slow(0.1)
    page.get_by_text("Settings of replies").click()
    page.get_by_label("Most tokens").fill("100")
    tab.say("w7 w8")
    page.wait_for_selector(".theirs .said:not(:empty)")
    assert tab.client.service.scheduler.at_work == 1
    page.get_by_role("button", name="Stop").click()
    assert "stopped" in tab.reply().locator(".facts").inner_text()
    deadline = time.monotonic() + 15
    while tab.client.service.scheduler.at_work:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert page.get_by_role("button", name="Send").is_visible()


def test_settings_that_nobody_chose_are_left_to_the_server(tab: Tab) -> None:
    page = tab.open().page
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w7")
    assert not {"temperature", "top_p", "max_tokens"} & set(sent.value.post_data_json)
    tab.reply()
    page.get_by_text("Settings of replies").click()
    page.get_by_label("Temperature").fill("0.5")
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w7")
    assert sent.value.post_data_json["temperature"] == 0.5
    tab.reply(1)


def test_a_turn_without_an_answer_is_not_told_again(tab: Tab) -> None:
    """Templates whose roles take turns refuse two messages of one person in a row."""
    page = tab.open().page
    tab.slow(1.0)
    tab.say("w7")
    page.get_by_role("button", name="Stop").click()
    tab.reply()
    tab.slow(0.0)
    last = {"choices": [{"delta": {"content": " "}, "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"
    tab.fake("v1/chat/completions", stream, kind="text/event-stream")
    tab.say("w8")
    tab.reply(1)
    page.unroute("**/v1/chat/completions")
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w9")
    assert sent.value.post_data_json["messages"] == [{"role": "user", "content": "w9"}]
    tab.reply(2)


@pytest.fixture
def bare(client: Client) -> Iterator[None]:
    """The server's base knows no turns."""
    known = client.service.words
    bare = tokenizer()
    bare.chat_template = None
    client.service.words = Words(Encoder(bare, 64, 64), known.normalizer, known.positions)
    yield
    client.service.words = known


@pytest.mark.usefixtures("bare")
def test_a_base_without_turns_gets_each_message_alone(tab: Tab) -> None:
    page = tab.open().page
    tab.say("w7 w8")
    tab.reply()
    assert not page.get_by_text("each message is sent alone").is_visible()
    tab.say("w9 w10")
    tab.reply(1)
    assert page.get_by_text("each message is sent alone").is_visible()
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w11")
    assert len(sent.value.post_data_json["messages"]) == 1
    tab.reply(2)


def test_one_prompt_at_several_trade_offs_with_rewards(tab: Tab) -> None:
    page = tab.open("tab=compare").page
    columns = page.locator(".column")
    assert columns.count() == 3
    page.get_by_text("Settings of replies").click()
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Add a column").click()
    assert columns.count() == 4 and page.get_by_role("button", name="Add a column").is_disabled()
    columns.nth(3).get_by_label("Weight of helpful").fill("80")
    with page.expect_response("**/api/rewards") as judged:
        tab.say("w7 w8 w9", "Prompt for all columns")
    texts = [columns.nth(i).locator(".said").inner_text() for i in range(4)]
    weights = ((1, 0), (0.5, 0.5), (0, 1), (0.8, 0.2))
    for text, (a, b) in zip(texts, weights, strict=True):
        _, alone = tab.client.json("POST", "/v1/chat/completions", {
            "model": "tiny", "messages": [{"role": "user", "content": "w7 w8 w9"}], "seed": 3,
            "preference": {"helpful": a, "harmless": b},
        })  # fmt: skip
        assert text == alone["choices"][0]["message"]["content"]
    assert len(set(texts)) > 1
    assert judged.value.request.post_data_json == {"prompt": "w7 w8 w9", "replies": texts}
    page.locator(".bars").nth(3).wait_for()
    for row, bars in zip(score("", texts), page.locator(".bars").all(), strict=True):
        assert bars.locator("dd span").all_inner_texts() == [f"{value:.3f}" for value in row]
        shares = [float(one.get_attribute("width")) for one in bars.locator(".meter-part").all()]
        assert shares == pytest.approx([100 * min(1, max(0, value)) for value in row])
    page.get_by_label("Remove column 1").click()
    assert columns.count() == 3
    assert "columns=soups%400.5,0.5%3Bsoups%400,1%3Bsoups%400.8,0.2" in tab.fragment


def test_replies_stay_where_the_handle_moves_and_columns_come_and_go(tab: Tab) -> None:
    page = tab.open("tab=compare").page
    columns, replies = page.locator(".column"), page.locator(".column .said")
    tab.say("w7 w8", "Prompt for all columns")
    page.locator(".bars").nth(2).wait_for()
    texts = replies.all_inner_texts()
    titles = page.locator(".column h3").all_inner_texts()
    tab.drag(40, 60)
    assert page.locator(".column h3").all_inner_texts() == titles
    page.get_by_role("button", name="Add a column").click()
    assert replies.all_inner_texts() == texts and page.locator(".bars").count() == 3
    page.get_by_label("Remove column 1").click()
    assert replies.all_inner_texts() == texts[1:] and columns.count() == 3
    page.go_back()
    columns.nth(3).wait_for()
    assert columns.nth(0).locator(".said").count() == 0
    assert replies.all_inner_texts() == texts[1:]
    names = [c.get_attribute("aria-label") for c in columns.all()]
    assert names == [f"Column {n}" for n in range(1, 5)]


def test_replies_on_their_way_arrive_whatever_is_moved(tab: Tab) -> None:
    page = tab.open("tab=compare").page
    page.get_by_text("Settings of replies").click()
    page.get_by_label("Most tokens").fill("12")
    tab.slow(0.1)
    tab.say("w7 w8", "Prompt for all columns")
    page.wait_for_selector(".column .said:not(:empty)")
    tab.drag(40, 60)
    page.get_by_role("button", name="Add a column").click()
    page.get_by_label("Remove column 1").click()
    with page.expect_response("**/api/rewards") as judged:
        tab.slow(0.0)
    assert page.get_by_text("stopped").count() == 0
    replies = page.locator(".column .said").all_inner_texts()
    assert judged.value.request.post_data_json["replies"] == replies and len(replies) == 2


def test_an_answer_to_another_column_says_so(tab: Tab) -> None:
    page = tab.open("tab=compare").page
    tab.say("w7 w8", "Prompt for all columns")
    page.locator(".bars").nth(2).wait_for()
    column = page.locator(".column").nth(0)
    slider, given = column.get_by_label("Weight of helpful"), column.get_by_text("Given for")
    text = column.locator(".said").inner_text()
    assert not given.is_visible()
    # Over the place of the next column: each keeps its own.
    for value in ("60", "50", "40"):
        slider.fill(value)
    assert given.inner_text().replace("\u00a0", " ") == (
        "Given for helpful 100 %, harmless 0 %, by soups:"
    )
    assert column.locator(".said").inner_text() == text
    assert slider.evaluate("slider => slider === document.activeElement")
    slider.fill("100")
    assert not given.is_visible()
    slider.fill("30")
    tab.say("w9", "Prompt for all columns")
    tab.reply(0)
    assert not given.is_visible()


def test_a_column_that_fails_says_so_and_the_others_go_on(tab: Tab) -> None:
    def fail_one(route: Any) -> None:
        if route.request.post_data_json["preference"]["helpful"] == 1:
            route.fulfill(status=500, json={"error": {"message": "out of memory"}})
        else:
            route.continue_()

    page = tab.open("tab=compare").page
    page.route("**/v1/chat/completions", fail_one)
    with page.expect_response("**/api/rewards") as judged:
        tab.say("w7", "Prompt for all columns")
    columns = page.locator(".column")
    assert "out of memory" in columns.nth(0).get_by_role("alert").inner_text()
    assert len(judged.value.request.post_data_json["replies"]) == 2
    assert columns.nth(1).locator(".bars").count() == 1


@pytest.mark.parametrize("status", [404, 422])
def test_replies_that_have_no_rewards_say_why(tab: Tab, status: int) -> None:
    tab.fake("api/rewards", {"error": {"message": "rewards: found none"}}, status)
    page = tab.open("tab=compare").page
    tab.say("w7", "Prompt for all columns")
    page.get_by_text("No rewards beside the replies: rewards: found none").wait_for()
    assert page.locator(".column .facts").count() == 3
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response("**/v1/chat/completions"):
        tab.say("w8", "Prompt for all columns")
    for n in range(3):
        tab.reply(n)
    page.wait_for_timeout(150)
    assert any("rewards" in url for url in asked) == (status == 422)


def test_choices_lead_to_a_trade_off_that_is_used(tab: Tab) -> None:
    page = tab.open("tab=ask").page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("no spaces", ".", ".."):
        page.get_by_label("Your name").fill(name)
        page.keyboard.press("Enter")
        page.get_by_text("A name has 1 to 64").wait_for()
    assert asked == []
    page.get_by_label("Your name").fill("anna")
    page.keyboard.press("Enter")
    page.get_by_text("Question 1:").wait_for()
    sides = page.locator(".option .said")
    for n in range(1, 5):
        texts = sides.all_inner_texts()
        # Anna likes what is brief.
        key = "1" if len(texts[0]) < len(texts[1]) else "2"
        page.keyboard.press(key)
        page.get_by_text(f"Question {n + 1}:").wait_for()
    page.keyboard.press("0")
    page.get_by_text("Question 6:").wait_for()
    _, told = tab.client.json("GET", "/api/users/anna/question")
    assert tab.tradeoff == list(told["served"]["tradeoff"].values())
    assert tab.tradeoff[1] > 0.5
    amounts = page.locator(".amount").all_inner_texts()
    low, high = (round(100 * told["estimate"][end]["harmless"]) for end in ("low", "high"))
    assert amounts[1].endswith(f"[{low}–{high} %]")
    page.locator(".estimate").get_by_role("button", name="Use it").click()
    assert page.get_by_text("Chat answers as anna was learned.").is_visible()
    with page.expect_request("**/v1/chat/completions") as sent:
        tab.say("w7")
    assert sent.value.post_data_json["user"] == "anna"
    assert "preference" not in sent.value.post_data_json
    facts = tab.reply().locator(".facts").inner_text()
    served = round(100 * told["served"]["tradeoff"]["helpful"])
    assert facts.startswith(f"helpful {served}\u00a0%") and "learned from answers" in facts
    tab.drag(40, 40)
    assert not page.get_by_text("Chat answers as anna").is_visible()


def test_stored_users_are_taken_along_and_deleted(tab: Tab) -> None:
    question = tab.client.json("GET", "/api/users/bob/question")[1]["question"]["id"]
    body = {"question": question, "answer": "first"}
    assert tab.client.json("POST", "/api/users/bob/answers", body)[0] == 200
    page = tab.open("tab=ask").page
    page.get_by_text("Who was asked").click()
    with page.expect_download() as taken:
        page.get_by_label("Export the answers of bob").click()
    export = json.loads(Path(taken.value.path()).read_text())
    assert taken.value.suggested_filename == "bob.json" and len(export["answers"]) == 1
    page.get_by_label("Delete bob").click()
    page.get_by_role("button", name="Keep").click()
    page.get_by_label("Delete bob").click()
    page.locator(".actions .bad").click()
    page.get_by_label("Delete bob").wait_for(state="detached")
    assert tab.client.json("GET", "/api/users/bob")[0] == 404
