"""The routes: the OpenAI protocol, what the server is, and the measured front."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from paretune.core.policy import Steering
from paretune.core.record import Prompt
from paretune.core.results import RunResult, to_json
from paretune.engines.lm.row_sampling import Sampling
from paretune.errors import BusyError, InputError, ParetuneError, RunError
from paretune.serving.answers import Answers
from paretune.serving.bodies import Body, chat_body, completion_body
from paretune.serving.candidates import Candidates
from paretune.serving.guard import Guard
from paretune.serving.metrics import Metrics
from paretune.serving.page import add_page
from paretune.serving.people import People
from paretune.serving.protocol import ChatRequest, CompletionRequest, Wanted, problem
from paretune.serving.replies import Request as Replies
from paretune.serving.reward_route import Rewards, add_rewards
from paretune.serving.scheduler import Scheduler
from paretune.serving.user_routes import add_users
from paretune.serving.wishes import Wish, Wishes
from paretune.serving.words import TooLongError, Words


@final
@dataclass
class Service:
    """Everything that answers.

    Args:
        result: what the run measured.
        answers: of its methods.
        wishes: reads what requests want.
        words: of its base.
        scheduler: decodes.
        max_tokens: of a reply that says nothing about it.
        seed: gives the seed of a request that brings none.
        people: who find their trade-off by answering questions.
        rewards: of any reply.
        candidates: chooses where a method draws several replies for one.
        temperature: of a request that says nothing about it, as the run was measured.
        top_p: likewise.
    """

    result: RunResult
    answers: Answers
    wishes: Wishes
    words: Words
    scheduler: Scheduler
    max_tokens: int
    seed: Callable[[], int]
    people: People | None = None
    rewards: Rewards | None = None
    candidates: Candidates | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    started: float = field(default_factory=time.time)
    metrics: Metrics = field(default_factory=Metrics)


def build_app(service: Service, key: str) -> Guard:
    """The server as an ASGI application.

    Args:
        service: what answers.
        key: that every route asks for, but ``/health`` and the files of the page.
    """
    app = FastAPI(title="paretune", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app, service)
    _add_facts(app, service)
    if service.people is not None:
        add_users(app, service.people)
    if service.rewards is not None:
        add_rewards(app, service.rewards, service.result)

    @app.post("/v1/chat/completions")
    async def chat(wanted: ChatRequest, http: Request) -> Any:
        words = service.words
        limit = wanted.max_completion_tokens or wanted.max_tokens
        top = (wanted.top_logprobs or 0) if wanted.logprobs else None
        prompt = words.prompt_of(wanted.messages)
        return await _reply(service, http, wanted, prompt, limit, top, chat_body(service.words))

    @app.post("/v1/completions")
    async def completions(wanted: CompletionRequest, http: Request) -> Any:
        body = completion_body(service.words)
        limit, top = wanted.max_tokens, wanted.logprobs
        return await _reply(service, http, wanted, wanted.prompt, limit, top, body)

    return Guard(app, key, ("/health", *add_page(app)))


async def _reply(
    service: Service, http: Request, wanted: Wanted, prompt: Any, limit: int | None,
    top: int | None, body: Body,
) -> Any:  # fmt: skip
    read = service.wishes.read
    # What a stored user wants is read from a file.
    is_stored = wanted.user is not None
    wish = await run_in_threadpool(read, wanted) if is_stored else read(wanted)
    answer = service.answers.answer(wish.method, wish.tradeoff)
    max_tokens = limit or service.max_tokens
    ids = await service.words.read(prompt, answer.steering, max_tokens)
    seed = service.seed() if wanted.seed is None else wanted.seed
    heat = service.temperature if wanted.temperature is None else wanted.temperature
    n = (wanted.n or 1) * answer.steering.candidates
    ways = [Sampling(heat, wanted.top_p or service.top_p, seed, number) for number in range(n)]
    replies = Replies(answer, ids, ways, max_tokens, service.words.text, wanted.stops, top or 0)
    replies.send(service.scheduler)
    service.metrics.asked(len(ways), len(ids))
    facts = {
        "model": wanted.model, "created": int(time.time()), "prompt_tokens": len(ids),
        "logprobs": top is not None, "seed": seed,
        "paretune": _used(service, wish, answer.steering),
    }  # fmt: skip
    choose = None
    if answer.steering.candidates > 1:
        choose = partial(_choose, service, replies, answer.steering, prompt)
    if wanted.stream:
        usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        return StreamingResponse(
            _stream(service, replies, facts, body, usage, choose), media_type="text/event-stream"
        )
    await replies.whole(http.receive)
    service.metrics.answered(replies.n_tokens)
    if choose is not None:
        await choose()
    if replies.problem:
        service.metrics.failed()
        return JSONResponse(_failure(replies), 500)
    return JSONResponse(body.whole(replies, facts))


def _failure(replies: Replies) -> Any:
    return problem(f"the model failed: {replies.problem}", "server_error")


async def _choose(service: Service, replies: Replies, steering: Steering, prompt: Prompt) -> None:
    """Keep the best of all replies, once they have ended."""
    if replies.problem or replies.is_cancelled:
        return  # whoever has left needs no judge
    if service.candidates is None:
        raise RunError("server: found no scorers that choose among replies, expected the run's")
    texts = [choice.text.text for choice in replies.choices]
    replies.keep(await service.candidates.best(steering, prompt, texts))


async def _stream(
    service: Service, replies: Replies, facts: dict[str, Any], body: Body, usage: bool,
    choose: Callable[[], Awaitable[None]] | None,
) -> AsyncIterator[str]:  # fmt: skip
    """Server-sent events; left early, the replies are cancelled."""
    try:
        pieces = replies.pieces()
        if choose is not None:
            async for _ in pieces:
                pass  # which of them is given is known at the end
            try:
                await choose()
            except ParetuneError as error:  # what a stream was answered with can be no other
                replies.keep([0], str(error))
            pieces = replies.kept()
        for chunk in body.opening(replies, facts):
            yield _event(chunk)
        async for piece in pieces:
            yield _event(body.piece(replies, facts, piece))
        if replies.problem:
            service.metrics.failed()
            yield _event(_failure(replies))
            return
        if usage:
            yield _event(body.usage(replies, facts))
        yield "data: [DONE]\n\n"
    finally:
        service.metrics.answered(replies.n_tokens)


def _event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _used(service: Service, wish: Wish, steering: Any) -> dict[str, Any]:
    """What really answers: the trade-off, the method, and where it lies on the front."""
    names = service.result.objectives
    return {
        "preference_asked": dict(zip(names, wish.tradeoff.weights, strict=True)),
        "preference_used": dict(zip(names, steering.tradeoff.weights, strict=True)),
        "source": wish.source, "method": wish.method, "steering": steering.kind,
        "policies": {
            p: w for p, w in zip(steering.policies, steering.weights, strict=True) if w
        },
        "front": service.wishes.place(wish.method, steering.tradeoff),
    }  # fmt: skip


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics.text(service.scheduler.at_work))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        run, methods = service.result.name, service.answers.methods
        names = {run: service.wishes.default} | {f"{run}/{name}": name for name in methods}
        facts = {"object": "model", "created": int(service.started), "owned_by": "paretune"}
        data = [
            {"id": name, "root": f"{run}/{method}", **facts,
             "serves": "any" if methods[method].serves_any else "measured"}
            for name, method in names.items()
        ]  # fmt: skip
        return {"object": "list", "data": data}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        found = next((one for one in (await models())["data"] if one["id"] == name), None)
        if found is None:
            raise LookupError(f"model: found {name[:200]!r}, expected one of /v1/models")
        return dict(found)

    @app.get("/api/front")
    async def front() -> dict[str, Any]:
        return to_json(service.result)


def _add_errors(app: FastAPI, service: Service) -> None:
    def refuse(status: int, code: str | None = None, **headers: str) -> Callable[..., Any]:
        async def handler(http: Request, error: Exception) -> JSONResponse:
            service.metrics.refused()
            content = problem(str(error), "invalid_request_error", code=code)
            return JSONResponse(content, status, headers={k.replace("_", "-"): v
                                                          for k, v in headers.items()})  # fmt: skip

        return handler

    async def invalid(http: Request, error: RequestValidationError) -> JSONResponse:
        service.metrics.refused()
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = f"{place}: {first['msg']}" if place else str(first["msg"])
        return JSONResponse(problem(message, "invalid_request_error", place or None), 422)

    async def plain(http: Request, error: HTTPException) -> JSONResponse:
        service.metrics.refused()
        return JSONResponse(problem(str(error.detail), "invalid_request_error"), error.status_code)

    async def broken(http: Request, error: RunError) -> JSONResponse:
        service.metrics.failed()
        return JSONResponse(problem(str(error), "server_error", code="run_damaged"), 500)

    app.add_exception_handler(HTTPException, plain)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(TooLongError, refuse(400, "context_length_exceeded"))
    app.add_exception_handler(BusyError, refuse(429, "server_busy", Retry_After="1"))
    app.add_exception_handler(LookupError, refuse(404, "model_not_found"))
    app.add_exception_handler(InputError, refuse(422))
    app.add_exception_handler(RunError, broken)  # type: ignore[arg-type]
