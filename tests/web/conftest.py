"""A server with everything the page can show, and a browser that remembers every complaint."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import KEY, Client, serve, service

from paretune.core.results import KnownFront, RunResult, Sample, to_json
from paretune.serving.answered import ShownReply
from paretune.serving.interview import Interview
from paretune.serving.people import People
from paretune.serving.reward_route import Rewards
from paretune.serving.scheduler import Scheduler
from paretune.serving.users import Users
from paretune.serving.wishes import Wishes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
pace = {"seconds": 0.0}
"""Time that a token takes."""


@contextlib.contextmanager
def slowed() -> Iterator[None]:
    time.sleep(pace["seconds"])
    yield


def shown_replies() -> dict[str, list[ShownReply]]:
    """Five replies to each of eight prompts, from brief to long."""

    def text(i: int) -> str:
        return " ".join(f"w{11 * i + k}" for k in range(4 + 3 * i))

    return {
        f"w7 w{n} w9": [ShownReply(f"{i}", text(i), (i / 4, 1 - (i / 4) ** 2)) for i in range(5)]
        for n in range(10, 18)
    }


def score(prompt: str, replies: Any) -> np.ndarray:
    return np.array([[len(r.split()) / 5, 1 - len(r.split()) / 14] for r in replies])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("page")
    made = service(folder)
    assert made.scheduler.close(10)
    front = ((0.0, 1.0), (0.6, 0.8), (1.0, 0.3))
    sample = Sample("soups", "w7 w8 w9", ("w1", "w2"), ((0, 1), (1, 0)), ((0, 1), (1, 0)))
    result = dataclasses.replace(
        made.result, known=KnownFront(front, front, 0.8), n_prompts=60, samples=(sample,)
    )
    people = People(Users(folder / "users.sqlite"), Interview(result, "soups", shown_replies))
    yield from serve(
        dataclasses.replace(
            made,
            result=result,
            wishes=Wishes(result, made.answers.methods, "soups", people.learned),
            people=people,
            rewards=Rewards(lambda: score),
            scheduler=Scheduler(made.answers.load, 2, 0, autocast=slowed),
        )
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for each file of tests: while it is open, no other test could run an event loop."""
    if CHROMIUM is None:
        pytest.skip("no chromium to open the page with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=FLAGS,
            # With it, no browser of a person: theirs drop addresses that change too often.
            ignore_default_args=["--disable-ipc-flooding-protection"],
        )
        yield opened
        opened.close()


class Tab:
    """A page of a browser that remembers every complaint and every request."""

    def __init__(self, browser: Any, client: Client, **how: Any) -> None:
        size = {"width": 1200, "height": 800}
        self.context = browser.new_context(viewport=size, reduced_motion="reduce", **how)
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.client = client
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request", lambda r: self.hosts.add(r.url.split("/")[2] if "//" in r.url else r.url)
        )
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def _hear(self, message: Any) -> None:
        # A status that is no success is told by the browser, too; the page has to say it itself.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.client.port}/"

    def open(self, fragment: str = "", key: str | None = KEY) -> Tab:
        parts = [f"key={key}"] if key else []
        self.page.goto(self.address + "#" + "&".join([*parts, *([fragment] if fragment else [])]))
        if key:
            self.page.locator("#main").wait_for()
        return self

    def fake(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, str) else json.dumps(body)
        self.page.route(
            f"**/{path}",
            lambda route: route.fulfill(status=status, body=content, headers={
                "Content-Type": headers.pop("kind", "application/json"), **headers}),
        )  # fmt: skip

    def show(self, result: RunResult, serves: str = "any") -> Tab:
        """The page of another result; its server would refuse to answer for it."""
        self.fake("api/front", to_json(result))
        names = [f"{result.name}/{m.name}" for m in result.methods]
        ids = [{"id": name, "serves": serves} for name in names]
        self.fake("v1/models", {"data": [{"id": result.name, "root": names[0]}, *ids]})
        return self.open()

    @property
    def tradeoff(self) -> list[float]:
        return list(self.page.locator("pareto-front").evaluate("front => front.tradeoff"))

    @property
    def handle(self) -> Any:
        return self.page.locator(".pf-handle")

    def drag(self, dx: float, dy: float) -> None:
        box = self.page.locator(".pf-ring").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + dx / 2, y + dy / 2)
        mouse.move(x + dx, y + dy, steps=3)
        mouse.up()

    def slow(self, seconds: float) -> None:
        """So long a token takes."""
        pace["seconds"] = seconds

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def say(self, text: str, label: str = "Message") -> None:
        self.page.get_by_label(label).fill(text)
        self.page.keyboard.press("Enter")

    def reply(self, n: int = 0) -> Any:
        done = self.page.locator(".reply:not([aria-busy])").nth(n)
        done.wait_for()
        return done

    @property
    def fragment(self) -> str:
        """Of the address, once it has followed the page."""
        self.page.wait_for_timeout(400)
        return str(self.page.url).partition("#")[2]


@pytest.fixture
def tab(browser: Any, client: Client, request: pytest.FixtureRequest) -> Iterator[Tab]:
    made = Tab(browser, client, **getattr(request, "param", {}))
    yield made
    pace["seconds"] = 0.0
    made.context.close()
    assert made.complaints == []
    assert made.hosts <= {f"127.0.0.1:{client.port}"}
