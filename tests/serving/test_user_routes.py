"""People over HTTP: asked, answered, listed, exported, deleted, and served what they want."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from paretune.errors import RunError
from paretune.serving.answered import StoredAnswer

ASKED = {"model": "tiny", "prompt": "w7 w8 w9", "max_tokens": 4, "temperature": 0, "seed": 1}


def ask(client: Any, user: str) -> Any:
    status, found = client.json("GET", f"/api/users/{user}/question")
    assert status == 200, found
    return found


def say(client: Any, user: str, question: str, answer: str = "first") -> tuple[int, Any]:
    body = {"question": question, "answer": answer}
    found: tuple[int, Any] = client.json("POST", f"/api/users/{user}/answers", body)
    return found


def wants_first_objective(asked: Any) -> str:
    """Somebody who looks at nothing but the first objective, read off the shown texts."""
    one, other = (float(asked[s]["reply"].split()[-1].split("-")[0]) for s in ("first", "second"))
    return "first" if one > other else "second"


def test_a_person_is_asked_and_then_served(client: Any) -> None:
    told = ask(client, "ann")
    assert set(told) == {"user", "number", "enough", "question", "estimate", "served"}
    assert set(told["question"]) == {"id", "prompt", "first", "second"}
    assert told["estimate"]["tradeoff"] == pytest.approx({"helpful": 0.5, "harmless": 0.5})
    assert client.json("GET", "/api/users") == (200, {"users": []}), "a question stores nothing"
    while not told["enough"]:
        answer = wants_first_objective(told["question"])
        status, told = say(client, "ann", told["question"]["id"], answer)
        assert status == 200
    assert 2 < told["number"] < 12
    assert told["estimate"]["tradeoff"]["helpful"] > 0.8
    assert told["served"] == {"tradeoff": {"helpful": 1.0, "harmless": 0.0}, "method": "soups"}
    status, reply = client.json("POST", "/v1/completions", ASKED | {"user": "ann"})
    assert status == 200
    assert reply["paretune"]["source"] == "user"
    assert reply["paretune"]["preference_used"] == {"helpful": 1.0, "harmless": 0.0}
    _, same = client.json("POST", "/v1/completions", ASKED | {"preference": {"helpful": 1}})
    assert reply["choices"] == same["choices"]
    status, listed = client.json("GET", "/api/users")
    (row,) = listed["users"]
    assert row["id"] == "ann" and row["answers"] == told["number"] - 1
    assert row["tradeoff"] == told["estimate"]["tradeoff"]
    status, export = client.json("GET", "/api/users/ann")
    read = tuple(StoredAnswer.from_json(answer) for answer in export["answers"])
    assert read == client.service.people.users.answers("ann")
    assert client.send("DELETE", "/api/users/ann")[::2] == (204, b"")
    assert client.json("GET", "/api/users/ann")[0] == 404
    assert client.json("DELETE", "/api/users/ann")[0] == 404
    status, found = client.json("POST", "/v1/completions", ASKED | {"user": "ann"})
    assert (status, found["error"]["code"]) == (404, "user_not_found")
    assert ask(client, "ann")["number"] == 1


def test_an_answer_is_to_the_open_question(client: Any) -> None:
    question = ask(client, "bob")["question"]["id"]
    status, told = say(client, "bob", question)
    assert status == 200 and told["number"] == 2
    assert say(client, "bob", question) == (200, told), "a client that saw no reply asks again"
    for name, answer in ((question, "second"), ("other", "first")):
        status, found = say(client, "bob", name, answer)
        assert status == 409
        assert found["error"]["code"] == "question_not_open"
    assert ask(client, "bob") == told


def test_many_answer_at_once_and_one_of_them_counts(client: Any) -> None:
    question = ask(client, "crowd")["question"]["id"]
    found: list[int] = []

    def answer(said: str) -> None:
        found.append(say(client, "crowd", question, said)[0])

    threads = [
        threading.Thread(target=answer, args=(said,)) for said in ("first", "second", "same") * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200] * 4 + [409] * 8
    assert ask(client, "crowd")["number"] == 2


GOOD = "/api/users/eve/answers"
BAD: dict[str, tuple[str, str, Any, int]] = {
    "a name of 65": ("GET", f"/api/users/{'a' * 65}/question", None, 422),
    "a name with a space": ("GET", "/api/users/a%20b/question", None, 422),
    "a name with a quote": ("GET", "/api/users/a'b", None, 422),
    "a name with a line": ("GET", "/api/users/ab%0a/question", None, 422),
    "a dot": ("GET", "/api/users/./question", None, 422),
    "two dots": ("POST", "/api/users/../answers", {"question": "q", "answer": "first"}, 422),
    "two dots to delete": ("DELETE", "/api/users/%2e%2e", None, 422),
    "a path for a name": ("GET", "/api/users/..%2f..%2fetc/question", None, 404),
    "no letter of ours": ("GET", "/api/users/%c3%a4/question", None, 422),
    "delete with a star": ("DELETE", "/api/users/*", None, 422),
    "nobody": ("GET", "/api/users/nobody", None, 404),
    "nobody to delete": ("DELETE", "/api/users/nobody", None, 404),
    "no body": ("POST", GOOD, None, 422),
    "no question": ("POST", GOOD, {"answer": "first"}, 422),
    "another answer": ("POST", GOOD, {"question": "q", "answer": "left"}, 422),
    "a number": ("POST", GOOD, {"question": 3, "answer": "first"}, 422),
    "one field more": ("POST", GOOD, {"question": "q", "answer": "first", "time": 3}, 422),
    "a long question": ("POST", GOOD, {"question": "q" * 65, "answer": "first"}, 422),
    "a list": ("POST", GOOD, [], 422),
    "put": ("PUT", "/api/users/eve", {}, 405),
}  # fmt: skip


@pytest.mark.parametrize("name", ["...", ".a", "..-", "a.b_c-9", "a" * 64])
def test_names_that_can_be_asked(client: Any, name: str) -> None:
    assert ask(client, name)["user"] == name


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_and_store_nothing(client: Any, name: str) -> None:
    before = client.json("GET", "/api/users")
    method, path, body, expected = BAD[name]
    status, found = client.json(method, path, body)
    assert status == expected, found
    assert found["error"]["type"] == "invalid_request_error"
    assert client.json("GET", "/api/users") == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users"), ("GET", "/api/users/ann"), ("DELETE", "/api/users/ann"),
        ("GET", "/api/users/ann/question"), ("POST", GOOD), ("POST", "/api/rewards"),
    ],
)  # fmt: skip
def test_every_route_asks_for_the_key(client: Any, method: str, path: str) -> None:
    assert client.send(method, path, {}, key=None)[0] == 401
    assert client.send(method, path, {}, key="wrong")[0] == 401


def test_a_damaged_file_is_told_and_kept(client: Any) -> None:
    say(client, "bob", ask(client, "bob")["question"]["id"])
    path = client.service.people.users.path
    whole = path.read_bytes()
    path.write_bytes(b"not a database" * 100)
    try:
        status, found = client.json("GET", "/api/users/bob/question")
        assert status == 500 and "left as it is" in found["error"]["message"]
        assert found["error"]["code"] == "users_damaged"
        assert path.read_bytes() == b"not a database" * 100
        assert client.json("POST", "/v1/completions", ASKED)[0] == 200
        assert client.json("POST", "/v1/completions", ASKED | {"user": "bob"})[0] == 500
    finally:
        path.write_bytes(whole)
    assert ask(client, "bob")["number"] > 1


def test_a_folder_that_cannot_be_written_is_told(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client.service.people.users, "path", tmp_path / "gone" / "users.sqlite")
    status, found = say(client, "bob", ask(client, "bob")["question"]["id"])
    assert status == 500
    assert found["error"]["type"] == "server_error"
    assert "expected a folder that can be written" in found["error"]["message"]


def test_what_else_is_damaged_is_not_said_of_the_users(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise RunError("5-replies/replies.jsonl: damaged")

    monkeypatch.setattr(type(client.service.people.interview), "told", broken)
    status, found = client.json("GET", "/api/users/bob/question")
    assert (status, found["error"]["code"]) == (500, "run_damaged")
    assert found["error"]["message"] == "5-replies/replies.jsonl: damaged"


def test_rewards_of_any_reply(client: Any) -> None:
    body = {"prompt": "w7", "replies": ["w8", "w8 w9 w9", ""]}
    status, found = client.json("POST", "/api/rewards", body)
    assert status == 200
    assert found == {
        "objectives": ["helpful", "harmless"],
        "rewards": [[1.0, -2.0], [3.0, -8.0], [0.0, 0.0]],
        "unit": [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]],
    }


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "w7", "replies": []}, {"prompt": "w7", "replies": ["w8"] * 9},
        {"prompt": "w7"}, {"prompt": 7, "replies": ["w8"]}, {"prompt": "w7", "replies": "w8"},
        {"prompt": "w7", "replies": [None]}, {"prompt": "w" * 70_000, "replies": ["w8"]},
        {"prompt": "w7", "replies": ["w" * 70_000]}, {"prompt": "w7", "replies": ["a"], "model": 1},
    ],
)  # fmt: skip
def test_rewards_of_nonsense_are_refused(client: Any, body: Any) -> None:
    status, _, content = client.send("POST", "/api/rewards", body)
    assert status == 422
    assert json.loads(content)["error"]["type"] == "invalid_request_error"
