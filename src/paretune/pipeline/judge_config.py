"""The ``data.judge`` section of a ``run.yaml``: a language model that labels comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from paretune.core.objective import Objectives
from paretune.errors import ConfigError
from paretune.scoring.judge_asking import Limits
from paretune.scoring.judge_client import environment_name_problem, url_problem
from paretune.scoring.judge_prompt import Form

Problem = tuple[tuple[str, ...], str]


class JudgeConfig(BaseModel):
    """Where the judge is, what it is asked, and how hard."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    base_url: str = Field(description="address before /chat/completions")
    model: str = Field(min_length=1, description="as the server calls it")
    key_env: str | None = Field(None, description="environment variable that holds the key")
    objectives: list[str] | None = Field(None, min_length=1, description="judged; default all")
    rubric: dict[str, str] = Field({}, description="objective: one sentence on what is better")
    overwrite: bool = Field(False, description="judge comparisons that have a label, too")
    timeout: float = Field(60.0, gt=0, le=3600, description="seconds for a request")
    retries: int = Field(2, ge=0, le=20, description="further attempts without an answer")
    backoff: float = Field(1.0, ge=0, le=600, description="seconds before the first of them")
    concurrency: int = Field(4, ge=1, le=256, description="requests under way at a time")
    max_requests: int | None = Field(None, ge=1, description="ever sent by the run; default any")
    when_down: Literal["stop", "go_on"] = Field(
        "stop", description="when nobody answers: stop, to be continued, or go on without labels"
    )

    @property
    def form(self) -> Form:
        """How questions are put."""
        return Form(self.model, self.rubric)

    @property
    def limits(self) -> Limits:
        """How hard the server is asked."""
        return Limits(self.retries, self.backoff, self.concurrency, self.max_requests)

    @property
    def asked_for(self) -> dict[str, Any]:
        """What labels follow from: no secret, and nothing that only changes how long it takes."""
        effort = {"key_env", "timeout", "retries", "backoff", "concurrency", "when_down"}
        return self.model_dump(exclude=effort)

    def judged(self, axes: Objectives) -> list[int]:
        """Columns of the objectives that are judged, in order."""
        names = axes.names if self.objectives is None else self.objectives
        return sorted(axes.index(name) for name in names)


def judge_problems(judge: JudgeConfig | None, axes: Objectives) -> Iterator[Problem]:
    """Key below ``data.judge`` and message of what its types cannot tell; shows no secret."""
    if judge is None:
        return
    if problem := url_problem(judge.base_url):
        yield ("base_url",), problem
    if judge.key_env is not None and (problem := environment_name_problem(judge.key_env)):
        yield ("key_env",), problem
    for key, names in (("objectives", judge.objectives or []), ("rubric", judge.rubric)):
        for name, times in Counter(list(names)).items():
            try:
                axes.index(name)
            except ConfigError as error:
                yield (key,), str(error)
            if times > 1:
                yield (key,), f"{name!r} comes twice, expected each once"


def may_be_secret(key: Sequence[Any], value: Any) -> bool:
    """True for a wrong value that no message may repeat: somebody may have put a key into it."""
    if isinstance(value, Mapping) and "judge" in value:
        return True
    return "judge" in key and not isinstance(value, int | float)
