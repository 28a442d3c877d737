"""The report of a folder: what only the folder knows gets into the page."""

from __future__ import annotations

import re
from pathlib import Path

from tests.pipeline.conftest import _write_run as write_run
from typer.testing import CliRunner

from paretune.cli.main import app


def test_each_run_tells_which_methods_answer_with_what_they_trained(tmp_path: Path) -> None:
    for name, methods in (("one", ("rewarded_soups",)), ("two", ("rewarded_soups", "dpo"))):
        write_run(tmp_path / name, methods)
    runs = [str(tmp_path / name) for name in ("one", "two")]
    done = CliRunner().invoke(app, ["report", *runs, "--out", str(tmp_path / "both")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "both" / "report.html").read_text()
    assert re.findall(r'"stepped": \[(.*?)\]', page) == ["", '"dpo"']
