"""The routes of the page: open to everybody, under one policy, and nothing else is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from paretune.serving.page import POLICY


def test_the_page_is_sent_to_everybody_under_its_policy(client: Any) -> None:
    status, headers, content = client.send("GET", "/", key=None)
    assert status == 200 and headers["content-type"].startswith("text/html")
    for name in re.findall(rb'(?:src|href)="(page/[\w.]+)"', content):
        status, headers, body = client.send("GET", f"/{name.decode()}", key=None)
        assert status == 200 and body
        assert headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY and "*" not in POLICY and "http" not in POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        again = client.send(
            "GET", f"/{name.decode()}", None, None, **{"If-None-Match": headers["etag"]}
        )
        assert again[0] == 304 and again[2] == b""


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/../conftest.py", "/page/page.html", "/page/%2e%2e/page.js",
             "/page//page.js", "/page/page.js/", "//", "/page/nothing.js", "/PAGE/page.js"],
)  # fmt: skip
def test_no_other_path_is_open(client: Any, path: str) -> None:
    assert client.send("GET", path, key=None)[0] == 401
    assert client.send("GET", path)[0] in (404, 307)
