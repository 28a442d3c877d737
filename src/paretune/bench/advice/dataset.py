"""Advice as files: records of each part, and the scales that their labels were made with."""

from __future__ import annotations

import json
from pathlib import Path

from paretune.bench.advice.requests import PARTS
from paretune.bench.advice.world import Advice
from paretune.data.jsonl import write_records

SCALES = "scales.json"


def write_dataset(
    world: Advice, folder: str | Path, n: int, seed: int = 0, n_replies: int = 4
) -> dict[str, int]:
    """Write ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` and ``scales.json``.

    Scales are those of training pairs in every part: a label of 0.5 means the same everywhere.

    Args:
        world: whose records.
        folder: made if it is missing; files of the same names are replaced.
        n: training records, >= 10; the other parts get a tenth each.
        seed: of the draws.
        n_replies: replies a record, in [2, 16].

    Returns:
        Part -> records written.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    written: dict[str, int] = {
        part: write_records(
            home / f"{part}.jsonl",
            world.preferences(n if part == "train" else n // 10, seed, part, n_replies),
        )
        for part in PARTS
    }
    scales = dict(zip(world.objectives, world.scales.tolist(), strict=True))
    (home / SCALES).write_text(json.dumps(scales, indent=2) + "\n", encoding="utf-8")
    return written
