"""Two processes train together (DDP over gloo) as one process with twice the batches would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

WORKER = Path(__file__).parent / "two_processes.py"


def run(folder: Path, processes: int, accumulate: int, loss: str) -> tuple[list[Any], list[Any]]:
    folder.mkdir()
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*launch, str(WORKER), str(folder), "4", str(accumulate), loss],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    reports = [json.loads((folder / f"rank-{r}.json").read_text()) for r in range(processes)]
    states = [torch.load(folder / f"parameters-{r}.pt") for r in range(processes)]
    return reports, states


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["a pair", "scalarized", "rewarded"])
def test_two_processes_train_one_model_on_every_row(tmp_path: Path, loss: str) -> None:
    reports, (first, second) = run(tmp_path / "two", 2, 1, loss)
    for name, parameter in first.items():
        assert torch.isfinite(parameter).all(), name
        assert torch.equal(parameter, second[name]), name
    # 22 rows in batches of 4 for each of 2 processes: 3 steps an epoch, two epochs.
    assert [r["steps"] for r in reports] == [6, 6]
    assert [r["lines"] for r in reports] == [6, 0], "one process reports"
    counts = Counter(row for r in reports for row in r["rows"])
    assert set(counts) == set(range(22))
    assert set(counts.values()) == {2}
    assert all(len(r["rows"]) > 0 for r in reports)

    _, (alone,) = run(tmp_path / "one", 1, 2, loss)
    for name, parameter in alone.items():
        torch.testing.assert_close(first[name], parameter, atol=1e-5, rtol=0, msg=name)
