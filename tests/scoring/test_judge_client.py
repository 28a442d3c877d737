import asyncio
import socket
import threading
import time

import pytest

from paretune.errors import ConfigError
from paretune.scoring.judge_client import (
    LARGEST_ANSWER,
    Endpoint,
    NoAnswer,
    environment_name_problem,
    url_problem,
)

CANARY = "sk-canary-0123456789abcdef"
BODY = b'{"messages": [{"content": "[0123456789ab response A begins]\\n2\\n[0123456789ab response A ends]\\n[0123456789ab response B begins]\\n1\\n[0123456789ab response B ends]", "role": "user"}]}'  # noqa: E501


def response(*args, **kwargs):
    from fastapi.responses import Response

    return Response(*args, **kwargs)


def failure(endpoint):
    with pytest.raises(NoAnswer) as caught:
        endpoint.ask(BODY)
    return caught.value


def test_an_answer_is_its_text(judge_server):
    assert Endpoint(judge_server.url).ask(BODY) == '{"score": 1.0}'
    assert Endpoint(judge_server.url + "/").ask(BODY) == '{"score": 1.0}'
    assert judge_server.keys == {None}


def test_the_key_comes_from_the_environment_and_goes_into_one_header(judge_server, monkeypatch):
    monkeypatch.setenv("MY_JUDGE", f" {CANARY}\n")
    endpoint = Endpoint.from_environment(judge_server.url, "MY_JUDGE")
    endpoint.ask(BODY)
    assert judge_server.keys == {f"Bearer {CANARY}"}
    assert CANARY not in repr(endpoint)


@pytest.mark.parametrize("value", ["", "  ", None, "two words", "new\nline", "schlüssel"])
def test_a_variable_without_a_key_is_refused_and_not_shown(monkeypatch, value):
    monkeypatch.delenv("MY_JUDGE", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_JUDGE", value)
    with pytest.raises(ConfigError, match="variable MY_JUDGE") as caught:
        Endpoint.from_environment("http://localhost:1/v1", "MY_JUDGE")
    assert not value or not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "is_down", "may_pass", "wait"),
    [
        (429, {"Retry-After": "7"}, True, True, 7),
        (429, {"Retry-After": "soon"}, True, True, 0),
        (429, {"Retry-After": "-3"}, True, True, 0),
        (429, {"Retry-After": "nan"}, True, True, 0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, True, True, 0),
        (500, {}, True, True, 0),
        (404, {}, True, False, 0),
        (400, {}, False, False, 0),
        (422, {}, False, False, 0),
    ],
)
def test_what_a_status_means(judge_server, status, headers, is_down, may_pass, wait):
    judge_server.answer = lambda question, n: response("no\x1b[31m", status, headers)
    found = failure(Endpoint(judge_server.url))
    assert (found.reason, found.detail) == (f"HTTP {status}", "no [31m")
    assert (found.is_down, found.may_pass, found.wait) == (is_down, may_pass, wait)


def test_a_date_to_wait_for(judge_server):
    from email.utils import formatdate

    date = formatdate(time.time() + 60, usegmt=True)
    judge_server.answer = lambda question, n: response("", 503, {"Retry-After": date})
    assert 50 < failure(Endpoint(judge_server.url)).wait <= 60


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, f"wrong key {CANARY}"),
        (403, f"wrong key {CANARY}"),
        (400, f'{{"error": {{"message": "do not know {CANARY}"}}}}'),
        (500, "x" * 150 + CANARY),
        (200, f"<html>{CANARY}</html>"),
        (200, "x" * 150 + CANARY),
    ],
)
def test_what_a_server_says_about_the_key_is_not_repeated(judge_server, monkeypatch, status, body):
    monkeypatch.setenv("MY_JUDGE", CANARY)
    judge_server.answer = lambda question, n: response(body, status)
    found = failure(Endpoint.from_environment(judge_server.url, "MY_JUDGE"))
    assert "canary" not in str(found) and "sk-" not in str(found)
    assert found.__cause__ is None
    if status in (401, 403):
        assert str(found) == f"HTTP {status}: it refuses the key in MY_JUDGE"


def test_a_redirect_is_not_followed(judge_server, monkeypatch):
    monkeypatch.setenv("MY_JUDGE", CANARY)
    for status in (301, 302, 303, 307, 308):
        target = f"{judge_server.url}/other?key={CANARY}"
        judge_server.answer = lambda question, n, s=status, t=target: response(
            "", s, {"Location": t}
        )
        found = failure(Endpoint.from_environment(judge_server.url, "MY_JUDGE"))
        assert found.reason == f"HTTP {status}, a redirect"
        assert not found.may_pass
        assert "/v1/other" in found.detail and CANARY not in str(found)
    assert len(judge_server.bodies) == 5


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}',
     '{"choices": [{"text": "3"}]}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_completion_may_be_asked_again(judge_server, body):
    judge_server.answer = lambda question, n: response(body)
    found = failure(Endpoint(judge_server.url))
    assert (found.reason, found.is_down, found.may_pass) == ("no chat completion", False, True)


def test_the_content_type_does_not_matter_where_the_content_is_right(judge_server):
    body = '{"choices": [{"message": {"content": "hello"}}]}'
    judge_server.answer = lambda question, n: response(body, media_type="text/html")
    assert Endpoint(judge_server.url).ask(BODY) == "hello"


def test_a_huge_answer_is_not_read_to_the_end(judge_server):
    judge_server.answer = lambda question, n: response(b" " * (LARGEST_ANSWER * 8))
    found = failure(Endpoint(judge_server.url))
    assert found.reason == f"an answer over {LARGEST_ANSWER} bytes"
    assert (found.is_down, found.may_pass) == (False, False)


def test_a_server_that_says_nothing_is_left(judge_server):
    async def late(question, n):
        await asyncio.sleep(5)
        return response("")

    judge_server.answer = late
    started = time.monotonic()
    found = failure(Endpoint(judge_server.url, timeout=0.1))
    assert found.reason == "no answer within 0.1 s"
    assert (found.is_down, found.may_pass) == (True, True)
    assert time.monotonic() - started < 3


def test_a_server_that_drips_is_left_too(judge_server):
    from fastapi.responses import StreamingResponse

    async def drops():
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    judge_server.answer = lambda question, n: StreamingResponse(drops())
    started = time.monotonic()
    assert failure(Endpoint(judge_server.url, timeout=0.2)).reason == "no answer within 0.2 s"
    assert time.monotonic() - started < 3


def test_a_connection_that_ends_early_may_be_tried_again():
    # One that promises ten bytes and sends three; one that ends in a chunk; one that says nothing.
    for said in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
        b"",
        b"no HTTP at all\r\n\r\n",
    ):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def talk(server=server, said=said):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(said)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1 << 16)

            thread = threading.Thread(target=talk)
            thread.start()
            found = failure(Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=5))
            thread.join()
        assert found.reason == "connection closed before the answer ended", said
        assert (found.is_down, found.may_pass) == (True, True)


def test_nobody_there(unused_address):
    found = failure(Endpoint(unused_address))
    assert (found.reason, found.is_down, found.may_pass) == ("connection refused", True, True)


def test_a_host_without_an_address(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = failure(Endpoint("http://host.invalid/v1", timeout=5))
    assert found.reason == f"no connection: [Errno {socket.EAI_NONAME}] Name or service not known"
    assert found.is_down


def test_a_proxy_is_not_asked_for_this_machine(judge_server, monkeypatch, unused_address):
    monkeypatch.setenv("http_proxy", unused_address)
    assert Endpoint(judge_server.url).ask(BODY) == '{"score": 1.0}'


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://api.example.com",
        "http://[::1]:80/v1/",
        "http://h/a-b_c",
    ],
)
def test_addresses_that_can_be_used(url):
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"https://me:{CANARY}@host/v1", "user name or password"),
        (f"https://{CANARY}@host/v1", "user name or password"),
        (f"https://host/v1?api-key={CANARY}", "'\\?' or '#'"),
        (f"https://host/v1#{CANARY}", "'\\?' or '#'"),
        ("localhost:8000/v1", "expected http"),
        ("ftp://host/v1", "expected http"),
        ("file:///etc/passwd", "expected http"),
        ("http://", "expected http"),
        ("http://host:port/v1", "cannot be read"),
        ("http://[::1/v1", "cannot be read"),
        ("http://" + "a" * 80 + ".com", "cannot be read"),
        ("http://host/v1 ", "spaces"),
        ("http://host/v1\r\nX: 1", "control"),
        ("http://host/v1/chat/completions", "expected the part before"),
    ],
)
def test_addresses_that_cannot(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Endpoint(url)
    assert CANARY not in str(caught.value)


def test_a_key_in_place_of_its_name_is_not_repeated():
    assert environment_name_problem("OPENAI_API_KEY") is None
    assert CANARY not in environment_name_problem(CANARY)
