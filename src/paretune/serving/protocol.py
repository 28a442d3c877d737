"""Requests of the OpenAI protocol, with the trade-off that a user wants; every field is checked.

A field that is not served is refused with its name: an answer that ignores what was asked for
would be a wrong answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

_Text = Annotated[str, Field(max_length=1 << 20, strict=True)]
_Name = Annotated[str, Field(max_length=512, strict=True)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Floor = Annotated[float, Field(allow_inf_nan=False)]

MOST_REPLIES = 8


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _one_text(content: Any) -> Any:
    """Parts of text as one; parts of other kinds are left as they are, and refused."""
    if not isinstance(content, list) or not content:
        return content
    parts = [part if isinstance(part, dict) else {} for part in content]
    if not all(p.keys() == {"type", "text"} and p["type"] == "text" for p in parts):
        return content
    texts = [part["text"] for part in parts]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else content


class ChatMessage(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[_Text, BeforeValidator(_one_text)]
    name: str | None = None


class StreamOptions(_Strict):
    """What a stream tells besides tokens."""

    include_usage: StrictBool = False


class Wanted(_Strict):
    """What every request may ask for."""

    model: _Name
    preference: Annotated[dict[_Name, _Weight], Field(max_length=64)] | None = None
    normalize: StrictBool = False
    at_least: Annotated[dict[_Name, _Floor], Field(max_length=64)] | None = None
    user: str | None = Field(None, max_length=64)
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    stop: _Text | list[_Text] | None = None
    seed: StrictInt | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_REPLIES, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    # Known, and served only where they change nothing.
    frequency_penalty: Literal[0, None] = None
    presence_penalty: Literal[0, None] = None

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Wanted:
        ways = [k for k in ("preference", "at_least", "user") if getattr(self, k) is not None]
        if len(ways) > 1:
            raise ValueError(f"found {' and '.join(ways)}, expected one of them")
        if isinstance(self.stop, list) and len(self.stop) > 4:
            raise ValueError(f"stop: found {len(self.stop)} texts, expected at most 4")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end a reply."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)


class ChatRequest(Wanted):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_completion_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None

    @model_validator(mode="after")
    def _alternatives_of_something(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: expected logprobs: true with it")
        return self


class CompletionRequest(Wanted):
    """``POST /v1/completions``."""

    prompt: _Text
    logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None
    echo: Literal[False, None] = None
    suffix: None = None
    best_of: Literal[1, None] = None


def problem(message: str, kind: str, param: str | None = None, code: str | None = None) -> Any:
    """An error as clients of the protocol know it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
