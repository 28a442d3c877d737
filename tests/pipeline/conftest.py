import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paretune.bench.handy import Handy
from paretune.bench.handy.text import Request, write_reply
from paretune.core.results import Cost, to_json
from paretune.core.tradeoff import TradeOff
from paretune.evaluation.box import frozen_box
from paretune.evaluation.measure import measure
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.pipeline.config import parse_config
from paretune.pipeline.measuring import FRONT
from paretune.pipeline.records import PROMPTS
from paretune.pipeline.replies import REPLIES
from paretune.safety.files import write_json, write_text
from paretune.safety.manifest import write_manifest

WORLD = Handy("A")
N_PROMPTS = 24
# One, two, three and four steps, and an overview before them: the front of the world.
SAYS = (0b000100, 0b001100, 0b011100, 0b111100, 0b111110)


@pytest.fixture
def tiny_config():
    """A run of seconds on the embedded world; keyword arguments replace top-level keys."""

    def build(**changes):
        values = {
            "name": "tiny",
            "objectives": ["helpful", "concise"],
            "data": {"world": "handy", "scenario": "A", "pairs": 48},
            "base": {
                "corpus": 256,
                "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32},
            },
            "tradeoffs": {"grid": 2},
            "methods": [{"method": "rewarded_soups"}],
            "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
            "generate": {"max_new_tokens": 12},
            "evaluate": {"prompts": 12, "resamples": 100, "samples": 1},
            "workers": 1,
        }
        return parse_config(values | changes)

    return build


@pytest.fixture
def write_run():
    """A measured run that nobody trained: the best policies of the world reply."""
    return _write_run


def _reply_of(prompt: str, step: int, method: str) -> tuple[str, bool]:
    """Of the best policy at a trade-off; one method is well-formed nowhere but at two of them."""
    is_sound = method != "dpo" or step in (0, 4)
    return (
        write_reply(Request.parse(prompt), SAYS[step]) if is_sound else "sand it now .",
        is_sound,
    )


def _write_run(path: Path, methods: tuple[str, ...] = ("rewarded_soups", "dpo", "best_of_n"),
              change: Callable[[str, str], str] = lambda prompt, text: text) -> Path:  # fmt: skip
    """A measured run: the records, replies and results that asking reads."""
    config = parse_config({
        "name": "tiny", "objectives": ["helpful", "concise"], "tradeoffs": {"grid": 4},
        "data": {"world": "handy", "scenario": "A", "pairs": 48}, "base": {"corpus": 256},
        "methods": [{"method": name} for name in methods],
        "evaluate": {"prompts": N_PROMPTS, "resamples": 100, "samples": 1},
    })  # fmt: skip
    values = json.loads(config.model_dump_json())
    write_json(path / "run.json", {"config": values, "command": "", "versions": {}})
    prompts = WORLD.test_prompts[:N_PROMPTS]
    write_json(path / "1-records" / PROMPTS, list(prompts))
    measured = []
    for name in methods:
        points = []
        for step, weight in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
            tradeoff = TradeOff((weight, 1 - weight))
            said = [_reply_of(prompt, step, name) for prompt in prompts]
            texts = [change(prompt, text) for prompt, (text, _) in zip(prompts, said, strict=True)]
            rewards = WORLD.score_many(prompts, [text for text, _ in said])
            rows = [
                {"prompt": n, "reply": text, "well_formed": is_sound,
                 "rewards": dict(zip(config.objectives, map(float, row), strict=True))}
                for n, (text, (_, is_sound), row) in enumerate(
                    zip(texts, said, rewards, strict=True))
            ]  # fmt: skip
            folder = path / "5-replies" / name / tradeoff.slug
            write_text(folder / REPLIES, "".join(json.dumps(row) + "\n" for row in rows))
            write_manifest(folder, {"identity": "x", "inputs": {}, "facts": {}})
            table = ReplyTable(np.arange(len(prompts)), texts, rewards)
            points.append(PointReplies(tradeoff, "a policy", table))
        measured.append(MethodReplies(name, points, Cost(0, 0, 0, 0, 1, 5)))
    box = frozen_box(config.axes, bounds=((0, 0), (1, 1)))
    rng = np.random.default_rng(0)
    result = measure("tiny", config.axes, box, prompts, measured, rng=rng, n_resamples=100)
    write_json(path / "6-front" / FRONT, to_json(result))
    write_manifest(path / "6-front", {"identity": "x", "inputs": {}, "facts": {}})
    return path
