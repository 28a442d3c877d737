"""From the folder of a measured run to its questions, its people and its rewards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paretune.core.results import MethodResult, RunResult
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, RunError, nearest
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.measuring import as_text
from paretune.pipeline.records import read_test_prompts
from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.rewards import scorers
from paretune.pipeline.run import load_result, stored_config
from paretune.safety.manifest import find_problems
from paretune.scoring.score import score_responses
from paretune.serving.answered import ShownReply
from paretune.serving.interview import Interview
from paretune.serving.people import People
from paretune.serving.users import FILE, Users

if TYPE_CHECKING:
    from paretune.serving.reward_route import Score


def people_of(config: RunConfig, run: RunFolder, result: RunResult, method: str) -> People:
    """The people of a run, asked about one of its methods; reads nothing yet.

    Args:
        config: of the run.
        run: its folder.
        result: what it measured.
        method: whose replies are shown.
    """
    read = partial(_read_shown, config, run, result, method)
    return People(users_of(run), Interview(result, method, read))


def users_of(run: RunFolder) -> Users:
    """The stored answers of a run."""
    return Users(run.path / FILE)


def open_people(run: RunFolder, method: str | None = None) -> People:
    """The people of a measured run.

    Args:
        run: its folder.
        method: whose replies are shown; default: of those that can be served the one of the
            largest hypervolume, as ``paretune serve`` takes it.

    Raises:
        ConfigError: if the run is not measured, or the method is unknown.
        RunError: if its results are damaged.
    """
    config, result = stored_config(run), load_result(run)
    servable = _servable(config, result)
    if not servable:
        raise ConfigError(f"{run.path}: found no method that can be served, expected one")
    if method is not None and method not in servable:
        raise ConfigError(f"--method: found {method!r}{nearest(method, servable)}")
    chosen = method or max(servable, key=lambda name: _reached(servable[name]))
    return people_of(config, run, result, chosen)


def open_scores(config: RunConfig, run: RunFolder) -> Score:
    """What rewards new replies as the evaluation of the run did.

    Raises:
        ConfigError: if an objective has only scores that came with the data.
        InputError: if a scorer cannot be loaded.
    """
    judges = scorers(config, run, "judges")
    # A conversation that was measured is known by its text; any other prompt is plain text.
    known = {as_text(prompt): prompt for prompt in read_test_prompts(config, run)}

    def score(prompt: str, replies: Sequence[str]) -> npt.NDArray[np.float64]:
        return score_responses([known.get(prompt, prompt)] * len(replies), replies, judges)

    return score


def _servable(config: RunConfig, result: RunResult) -> dict[str, MethodResult]:
    """Measured methods that answer with one reply to a prompt alone."""
    measured = {m.name: m for m in result.methods if m.failed is None}
    found = {}
    for method in config.methods:
        tradeoffs: Any = config.tradeoffs_of(method)
        steering = config.build_method(method).steer(tradeoffs[0], tradeoffs)
        if method.name in measured and steering.candidates == 1 and steering.shots is None:
            found[method.name] = measured[method.name]
    return found


def _reached(method: MethodResult) -> float:
    return -1.0 if method.hypervolume is None else method.hypervolume.value


def _read_shown(
    config: RunConfig, run: RunFolder, result: RunResult, method: str
) -> dict[str, list[ShownReply]]:
    """Well-formed replies of a method to each evaluation prompt, one a trade-off."""
    prompts = [_encodable(as_text(prompt)) for prompt in read_test_prompts(config, run)]
    shown: dict[str, list[ShownReply]] = {}
    points = next(m.points for m in result.methods if m.name == method)
    for slug in dict.fromkeys(TradeOff(point.tradeoff).slug for point in points):
        folder = run.stage(5) / method / slug
        if problems := find_problems(folder):
            raise RunError(f"{'; '.join(problems)}: damaged; run the run again to make it again")
        columns = read_replies(folder / REPLIES, result.objectives)
        seen: set[str] = set()
        for row, (prompt, text) in enumerate(
            zip(columns["prompt_of"].tolist(), columns["texts"], strict=True)
        ):
            known = columns["well_formed"]
            if (known is None or known[row]) and prompts[prompt] not in seen:
                seen.add(prompts[prompt])
                rewards = tuple(map(float, columns["rewards"][row]))
                reply = ShownReply(slug, _encodable(text), rewards)
                shown.setdefault(prompts[prompt], []).append(reply)
    return shown


def _encodable(text: str) -> str:
    """Text without half characters, which no file and no network can hold."""
    return text.encode("utf-8", "replace").decode()
