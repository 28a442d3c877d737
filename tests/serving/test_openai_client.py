"""The official client, unmodified."""

from __future__ import annotations

import itertools
from typing import Any

import openai
import pytest

from paretune.engines.lm.live_batch import LiveBatch


@pytest.fixture
def official(client: Any) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{client.port}/v1", api_key="a-key-of-the-test", max_retries=0
    )


def test_a_chat_with_a_preference(official: openai.OpenAI) -> None:
    found = official.chat.completions.create(
        model="tiny",
        messages=[{"role": "system", "content": "w9"}, {"role": "user", "content": "w7 w8"}],
        max_completion_tokens=6, n=2, seed=3, temperature=0.8, logprobs=True, top_logprobs=1,
        extra_body={"preference": {"helpful": 0.7, "harmless": 0.3}},
    )  # fmt: skip
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.choices[0].message.role == "assistant"
    assert found.usage is not None and found.usage.completion_tokens > 0
    assert found.choices[0].logprobs is not None and found.choices[0].logprobs.content
    extra: Any = found.model_extra
    assert extra["paretune"]["preference_used"] == {"helpful": 0.7, "harmless": 0.3}


def test_a_stream(official: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tiny@0.2,0.8", "messages": [{"role": "user", "content": "w7"}], "max_tokens": 8,
        "seed": 1,
    }  # fmt: skip
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in official.chat.completions.create(stream=True, **asked)
        if chunk.choices
    ]
    whole = official.chat.completions.create(**asked).choices[0].message.content
    assert "".join(pieces) == whole
    assert len(pieces) > 2


def test_plain_text_and_models(official: openai.OpenAI) -> None:
    found = official.completions.create(model="tiny", prompt="w7 w8", max_tokens=4, logprobs=2)
    assert found.choices[0].logprobs is not None
    assert [model.id for model in official.models.list()] == ["tiny", "tiny/soups"]


def test_errors_are_those_of_the_client(official: openai.OpenAI, client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="known: tiny"):
        official.completions.create(model="gpt", prompt="w7")
    with pytest.raises(openai.UnprocessableEntityError, match="did you mean 'helpful'"):
        official.completions.create(
            model="tiny", prompt="w7", extra_body={"preference": {"helpfull": 1}}
        )
    with pytest.raises(openai.BadRequestError, match="128"):
        official.completions.create(model="tiny", prompt="w7 " * 500)
    stranger = openai.OpenAI(base_url=str(official.base_url), api_key="other", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_model_that_fails_in_the_middle_of_a_stream(
    official: openai.OpenAI, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Not the end of a reply, and somebody learns of it."""
    plain, calls = LiveBatch.read, itertools.count()

    def read(live: LiveBatch, tokens: Any) -> Any:
        if next(calls) == 3:
            raise RuntimeError("the device is gone")
        return plain(live, tokens)

    asked: dict[str, Any] = {"model": "tiny", "prompt": "w7 w8", "max_tokens": 30, "seed": 4}
    before = client.service.metrics.failures
    for is_stream in (True, False):
        with (
            monkeypatch.context() as broken,
            pytest.raises(openai.APIError, match="device is gone"),
        ):
            broken.setattr(LiveBatch, "read", read)
            calls = itertools.count()
            list(official.completions.create(stream=is_stream, **asked))
    assert client.service.metrics.failures == before + 2
    assert "RuntimeError: the device is gone" in caplog.text
    assert official.completions.create(**asked).choices[0].text


def test_parts_of_text_and_one_model(official: openai.OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "w7 "}, {"type": "text", "text": "w8"}]
    said = [
        official.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": content}], max_tokens=8, seed=2
        ).choices[0].message.content
        for content in (parts, "w7 w8")
    ]  # fmt: skip
    assert said[0] == said[1]
    picture: Any = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(openai.UnprocessableEntityError):
        official.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": picture}]
        )
    assert official.models.retrieve("tiny/soups").id == "tiny/soups"
    with pytest.raises(openai.NotFoundError):
        official.models.retrieve("tiny/other")


@pytest.mark.parametrize("is_stream", [True, False])
def test_tokens_are_written_as_in_the_reply(official: openai.OpenAI, is_stream: bool) -> None:
    found = official.completions.create(
        model="tiny", prompt="w7 w8", max_tokens=12, logprobs=2, seed=6, stream=is_stream
    )
    choices = [c for chunk in found for c in chunk.choices] if is_stream else found.choices
    rows = [c.logprobs for c in choices if c.logprobs]
    tokens = [token for row in rows for token in row.tokens]
    assert "".join(tokens) == "".join(c.text for c in choices) and len(tokens) > 4
    for row in rows:
        for token, logp, top in zip(row.tokens, row.token_logprobs, row.top_logprobs, strict=True):
            assert top[token] == logp and 2 <= len(top) <= 3
