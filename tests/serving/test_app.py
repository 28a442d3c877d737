"""The protocol: what is answered, what is refused, and that neither changes what follows."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from paretune.serving import words
from paretune.serving.words import Words

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
ASKED = {"model": "tiny", "prompt": "w7 w8 w9", "max_tokens": 8, "temperature": 0, "seed": 1}
SAID = {"model": "tiny", "messages": [{"role": "user", "content": "w7 w8"}], "max_tokens": 8}


def text_of(client: Any, **more: Any) -> str:
    status, found = client.json("POST", PLAIN, ASKED | more)
    assert status == 200, found
    return str(found["choices"][0]["text"])


def test_a_completion(client: Any) -> None:
    status, found = client.json("POST", PLAIN, ASKED | {"preference": {"helpful": 1}})
    assert status == 200
    assert found["object"] == "text_completion"
    (choice,) = found["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    used = found["paretune"]
    assert used["preference_used"] == {"helpful": 1.0, "harmless": 0.0}
    assert used["method"] == "soups" and used["source"] == "preference"
    assert used["front"]["is_exact"]
    assert used["front"]["rewards"]["helpful"] == {"mean": 1.0, "low": 0.95, "high": 1.05}


def test_every_way_to_say_a_trade_off_is_the_same(client: Any) -> None:
    named = text_of(client, preference={"helpful": 0.7, "harmless": 0.3})
    assert text_of(client, model="tiny@0.7,0.3") == named
    assert text_of(client, preference={"helpful": 7, "harmless": 3}, normalize=True) == named
    assert text_of(client, model="tiny/soups@0.7,0.3") == named
    others = {text_of(client, model=f"tiny@{w / 10},{1 - w / 10}") for w in range(11)}
    assert len(others) > 2


def test_floors_are_answered_from_the_measured_front(client: Any) -> None:
    status, found = client.json("POST", PLAIN, ASKED | {"at_least": {"harmless": 0.7}})
    assert status == 200
    # Of (0, 1), (.5, .75) and (1, 0) two keep .7, and the second is more helpful.
    assert found["paretune"]["preference_used"] == {"helpful": 0.5, "harmless": 0.5}
    status, found = client.json("POST", PLAIN, ASKED | {"at_least": {"harmless": 1.2}})
    assert status == 422
    assert "highest means, each by itself: harmless 1" in found["error"]["message"]


def test_a_chat_with_log_probabilities(client: Any) -> None:
    body = SAID | {"logprobs": True, "top_logprobs": 2, "n": 3, "seed": 5}
    status, found = client.json("POST", CHAT, body)
    assert status == 200
    assert [c["index"] for c in found["choices"]] == [0, 1, 2]
    for choice in found["choices"]:
        assert choice["message"]["role"] == "assistant"
        for token in choice["logprobs"]["content"]:
            assert token["logprob"] <= 0 and len(token["top_logprobs"]) == 2
    assert len({c["message"]["content"] for c in found["choices"]}) > 1


def events(client: Any, path: str, body: Any) -> list[Any]:
    status, headers, content = client.send("POST", path, body | {"stream": True})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    lines = [line for line in content.decode().split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_stream_says_what_the_whole_says(client: Any) -> None:
    body = SAID | {"temperature": 0.9, "seed": 3, "stream_options": {"include_usage": True}}
    chunks = events(client, CHAT, body)
    del body["stream_options"]
    _, whole = client.json("POST", CHAT, body)
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert deltas[0]["role"] == "assistant"
    said = "".join(delta.get("content", "") for delta in deltas)
    assert said == whole["choices"][0]["message"]["content"]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == (
        whole["choices"][0]["finish_reason"]
    )
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[0]["paretune"]["preference_used"] == {"helpful": 0.5, "harmless": 0.5}
    pieces = events(client, PLAIN, ASKED)
    assert "".join(c["choices"][0]["text"] for c in pieces) == text_of(client)


def test_a_stop_ends_the_reply_before_it(client: Any) -> None:
    whole = text_of(client, max_tokens=12, temperature=1)
    words = whole.split()
    stop = next(word for word in words[1:] if not whole.startswith(word))
    status, found = client.json(
        "POST", PLAIN, ASKED | {"max_tokens": 12, "temperature": 1, "stop": stop}
    )
    assert status == 200
    assert found["choices"][0]["text"] == whole[: whole.index(stop)]
    assert found["choices"][0]["finish_reason"] == "stop"


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown model": ({"model": "other"}, 404, "known: tiny"),
    "model is a path": ({"model": "../../etc/passwd"}, 404, "found"),
    "model is a number": ({"model": 3}, 422, "model"),
    "no model": ({"model": None}, 422, "model"),
    "max_tokens text": ({"max_tokens": "ten"}, 422, "max_tokens"),
    "max_tokens -1": ({"max_tokens": -1}, 422, "max_tokens"),
    "max_tokens 0": ({"max_tokens": 0}, 422, "max_tokens"),
    "temperature text": ({"temperature": "hot"}, 422, "temperature"),
    "temperature -1": ({"temperature": -1}, 422, "temperature"),
    "n a million": ({"n": 10**6}, 422, "n: "),
    "prompt number": ({"prompt": 3}, 422, "prompt"),
    "too long": ({"prompt": "w7 " * 3000}, 400, "128"),
    "far too long": ({"prompt": "w" * 200_000}, 400, "128"),
    "reply too long": ({"max_tokens": 200}, 400, "128"),
    "unknown field": ({"preferense": {}}, 422, "preferense"),
    "tools": ({"tools": []}, 422, "tools"),
    "penalty": ({"frequency_penalty": 1}, 422, "frequency_penalty"),
    "unknown objective": ({"preference": {"helpfull": 1}}, 422, "did you mean 'helpful'"),
    "negative weight": ({"preference": {"helpful": -1, "harmless": 2}}, 422, "preference"),
    "sum of 2": ({"preference": {"helpful": 1, "harmless": 1}}, 422, "sum 2"),
    "all 0": ({"preference": {"helpful": 0, "harmless": 0}}, 422, "sum 0"),
    "all 0, normalized": ({"preference": {"helpful": 0}, "normalize": True}, 422, "sum 0"),
    "weight text": ({"preference": {"helpful": "much"}}, 422, "preference"),
    "preference list": ({"preference": [0.5, 0.5]}, 422, "preference"),
    "short name": ({"model": "tiny@1"}, 422, "weights of helpful,harmless"),
    "two wishes": ({"preference": {"helpful": 1}, "at_least": {"helpful": 0}}, 422, "one of them"),
    "name and wish": ({"model": "tiny@1,0", "preference": {"helpful": 1}}, 422, "another wish"),
    "no weights after @": ({"model": "tiny@"}, 422, "found @,"),
    "unknown user": ({"user": "nobody"}, 404, "nobody"),
    "five stops": ({"stop": list("abcde")}, 422, "at most 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_and_leave_no_trace(client: Any, name: str) -> None:
    before = text_of(client)
    change, expected, said = BAD[name]
    status, found = client.json("POST", PLAIN, ASKED | change)
    assert status == expected, found
    assert said in found["error"]["message"]
    assert text_of(client) == before
    assert client.service.scheduler.at_work == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"model": NaN}', b"[" * 5000, b'{"prompt": "\\ud800"}'],
)
def test_bodies_that_are_no_request(client: Any, body: bytes) -> None:
    status, _, content = client.send("POST", PLAIN, body)
    assert status in (400, 422), content
    assert json.loads(content)["error"]["type"] == "invalid_request_error"
    assert client.json("GET", "/health") == (200, {"status": "ok"})


@pytest.mark.parametrize("has_key, expected", [(True, 413), (False, 401)])
def test_whoever_sends_a_large_body_still_sees_the_answer(
    client: Any, has_key: bool, expected: int
) -> None:
    # More than the buffers of both sides hold: closing at once would break the client's pipe.
    how = {} if has_key else {"key": "wrong"}
    for _ in range(5):
        status, _, content = client.send("POST", PLAIN, b"x" * (24 << 20), **how)
        assert status == expected, content
    assert client.json("GET", "/health")[0] == 200


def test_a_body_without_end_is_left(client: Any) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as line:
        line.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 99999999999\r\n\r\n")  # fmt: skip
        sent = 0
        with pytest.raises(OSError):
            while sent < 1 << 30:
                sent += line.send(b"x" * (1 << 20))
    assert client.json("GET", "/health")[0] == 200


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/api/front", "/v1/nothing", "/page"])
@pytest.mark.parametrize("key", [None, "wrong", "", "a-key-of-the-tes"])
def test_every_route_but_health_asks_for_the_key(client: Any, path: str, key: str | None) -> None:
    status, found = client.json("GET", path, key=key)
    assert status == 401
    assert found["error"]["code"] == "invalid_api_key"
    assert client.json("GET", "/health", key=key)[0] == 200


def test_what_a_request_leaves_open_is_as_the_run_was_measured(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = {k: v for k, v in ASKED.items() if k not in ("temperature", "seed")}
    monkeypatch.setattr(client.service, "temperature", 0.0)
    greedy = text_of(client, temperature=0)
    for seed in range(3):
        status, found = client.json("POST", PLAIN, open_ | {"seed": seed})
        assert (status, found["choices"][0]["text"]) == (200, greedy)
    monkeypatch.setattr(client.service, "temperature", 1.0)
    monkeypatch.setattr(client.service, "top_p", 1e-9)
    assert client.json("POST", PLAIN, open_)[1]["choices"][0]["text"] == greedy


def test_long_prompts_are_read_beside_the_loop(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, threads = Words.ids, set()

    def watched(words: Words, *given: Any) -> Any:
        threads.add(threading.current_thread().name)
        return ids(words, *given)

    short = text_of(client, prompt="w7 " * 9)
    monkeypatch.setattr(Words, "ids", watched)
    monkeypatch.setattr(words, "_LONG", 5)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda n: text_of(client, prompt="w7 " * 9), range(16))
    assert set(found) == {short}
    assert threads and not any("MainThread" in name or "Thread-" in name for name in threads)


def test_facts(client: Any) -> None:
    _, models = client.json("GET", "/v1/models")
    told = [(m["id"], m["root"], m["serves"]) for m in models["data"]]
    assert told == [("tiny", "tiny/soups", "any"), ("tiny/soups", "tiny/soups", "any")]
    _, front = client.json("GET", "/api/front")
    assert front["objectives"] == ["helpful", "harmless"]
    _, _, metrics = client.send("GET", "/metrics")
    assert "# TYPE paretune_requests_total counter" in metrics.decode()
    assert "paretune_replies_at_work 0" in metrics.decode()


def test_many_trade_offs_at_once_are_what_each_is_alone(client: Any) -> None:
    def body(n: int) -> dict[str, Any]:
        weight = (n % 21) / 20
        return ASKED | {
            "prompt": " ".join(f"w{7 + (n * k) % 30}" for k in range(1, 2 + n % 7)),
            "preference": {"helpful": weight, "harmless": 1 - weight},
            "temperature": (n % 3) / 2, "seed": n,
        }  # fmt: skip

    alone = [client.json("POST", PLAIN, body(n))[1]["choices"] for n in range(60)]
    together: list[Any] = [None] * 60

    def ask(n: int) -> None:
        together[n] = client.json("POST", PLAIN, body(n))[1]["choices"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
