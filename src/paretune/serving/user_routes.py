"""Routes for people who find their trade-off by answering questions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from paretune.core.question import Answer
from paretune.serving.people import (
    NotOpenError,
    People,
    UnknownUserError,
    export_of,
    forget,
    require_user_name,
)
from paretune.serving.protocol import problem
from paretune.serving.users import UsersDamagedError

User = Annotated[str, Path(), AfterValidator(require_user_name)]


class AnswerRequest(BaseModel):
    """``POST /api/users/ID/answers``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Annotated[str, Field(max_length=64)]
    answer: Answer


def add_users(app: FastAPI, people: People) -> None:
    """Add ``/api/users`` and what is below it.

    Plain functions: they read files and compute, and must not hold up the replies of others.

    Args:
        app: the server.
        people: of the run.
    """

    @app.get("/api/users")
    def users() -> dict[str, Any]:
        return {"users": people.all()}

    @app.get("/api/users/{user}")
    def export(user: User) -> dict[str, Any]:
        return export_of(people.users, user)

    @app.delete("/api/users/{user}", status_code=204)
    def delete(user: User) -> Response:
        forget(people.users, user)
        return Response(status_code=204)

    @app.get("/api/users/{user}/question")
    def question(user: User) -> dict[str, Any]:
        return people.question(user)

    @app.post("/api/users/{user}/answers")
    def answer(user: User, said: AnswerRequest) -> dict[str, Any]:
        return people.answer(user, said.question, said.answer)

    def refuse(status: int, code: str, kind: str = "invalid_request_error") -> Any:
        async def handler(http: Any, error: Exception) -> JSONResponse:
            return JSONResponse(problem(str(error), kind, code=code), status)

        return handler

    app.add_exception_handler(UnknownUserError, refuse(404, "user_not_found"))
    app.add_exception_handler(NotOpenError, refuse(409, "question_not_open"))
    app.add_exception_handler(UsersDamagedError, refuse(500, "users_damaged", "server_error"))
