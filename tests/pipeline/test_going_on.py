"""Going on with a run: what is kept, what is refused, what is made again, and what doctor says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paretune.cli.main import app
from paretune.errors import ConfigError, Interrupted
from paretune.pipeline.changes import CHANGEABLE
from paretune.pipeline.doctor import diagnose
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import Voice, execute
from paretune.safety.files import read_json, write_json
from paretune.safety.manifest import find_problems
from paretune.safety.stopping import stoppable

Build = Callable[..., Any]
SFT = [{"method": "sft"}]
RATES = {"checkpoint_steps": 2, "epochs": 2, "batch_size": 16, "learning_rate": 5e-4}


class Cut(BaseException):
    """Ends a training from inside, as a kill would."""


def cut_at(share: float) -> Voice:
    def watch(found: float, done: int, total: int, running: str) -> None:
        if running and found > share:
            raise Cut

    return Voice(watch=watch)


def begin(config: Any, path: Path) -> Path:
    """A run whose only training was cut; the folder of its checkpoints."""
    with pytest.raises(Cut):
        execute(config, path, "train", cut_at(0.5))
    (folder,) = (path / "4-policies" / "sft").glob(".*.checkpoints")
    assert list(folder.glob("checkpoint-*"))
    return folder


def policy_of(path: Path) -> str:
    return hashlib.sha256((path / "4-policies/sft/sft/model.safetensors").read_bytes()).hexdigest()


def snapshot(path: Path) -> dict[str, tuple[int, int]]:
    files = [p for p in path.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def test_a_cut_training_goes_on_and_ends_the_same(tmp_path: Path, tiny_config: Build) -> None:
    config = tiny_config(methods=SFT, train=RATES)
    execute(config, tmp_path / "whole" / "tiny", "train")
    folder = begin(config, tmp_path / "tiny")
    seen = snapshot(tmp_path / "tiny")
    found = diagnose(RunFolder(tmp_path / "tiny"))
    assert snapshot(tmp_path / "tiny") == seen, "doctor changes nothing"
    (stopped,) = found.stopped
    assert found.is_healthy and stopped.path == "4-policies/sft/sft" and stopped.step > 0
    assert f"go on with 4-policies/sft/sft from step {stopped.step}" in found.actions
    execute(config, tmp_path / "tiny", "train")
    assert policy_of(tmp_path / "tiny") == policy_of(tmp_path / "whole" / "tiny")
    assert not folder.exists()
    logs = [
        t / "4-policies/sft/sft/metrics.jsonl" for t in (tmp_path / "tiny", tmp_path / "whole/tiny")
    ]
    assert logs[0].read_text() == logs[1].read_text()


def test_a_training_does_not_go_on_with_other_settings(tmp_path: Path, tiny_config: Build) -> None:
    begin(tiny_config(methods=SFT, train=RATES), tmp_path / "tiny")
    kept = snapshot(tmp_path / "tiny" / "4-policies")
    other = tiny_config(methods=SFT, train=RATES | {"learning_rate": 1e-3, "weight_decay": 0.1})
    said = (
        r"settings\.learning_rate 0\.0005 -> 0\.001, settings\.weight_decay 0\.01 -> 0\.1\)"
        r".*--allow-change learning_rate,weight_decay"
    )
    with pytest.raises(ConfigError, match=said):
        execute(other, tmp_path / "tiny", "train")
    with pytest.raises(ConfigError, match=r"settings\.weight_decay"):
        execute(other, tmp_path / "tiny", "train", allow_change=["learning_rate"])
    assert snapshot(tmp_path / "tiny" / "4-policies") == kept, "what was refused changed nothing"


@pytest.mark.parametrize("name", ["batch_size", "seed", "lora"])
def test_what_decides_the_rows_cannot_change(tmp_path: Path, tiny_config: Build, name: str) -> None:
    assert name not in CHANGEABLE
    with pytest.raises(ConfigError, match=f"--allow-change {name}: .* known: .*learning_rate"):
        execute(tiny_config(), tmp_path / "tiny", allow_change=[name])
    assert not (tmp_path / "tiny").exists()


def test_an_allowed_change_is_taken_over(tmp_path: Path, tiny_config: Build) -> None:
    config = tiny_config(methods=SFT, train=RATES)
    other = tiny_config(methods=SFT, train=RATES | {"learning_rate": 0.05})
    for name in ("kept", "changed"):
        begin(config, tmp_path / name / "tiny")
    execute(config, tmp_path / "kept" / "tiny", "train")
    said: list[str] = []
    run = tmp_path / "changed" / "tiny"
    execute(other, run, "train", Voice(say=said.append), ["learning_rate"])
    (line,) = [text for text in said if "goes on from" in text]
    assert "settings.learning_rate 0.0005 -> 0.05" in line
    assert policy_of(run) != policy_of(tmp_path / "kept" / "tiny"), "the rate was not taken over"
    log = (run / "4-policies/sft/sft/metrics.jsonl").read_text()
    rates = [json.loads(row)["learning_rate"] for row in log.splitlines()]
    assert max(rates[:1]) < 1e-3 and max(rates[-3:]) > 1e-3
    # A finished policy is kept as it is, and what follows from it too.
    before = policy_of(tmp_path / "kept" / "tiny")
    execute(other, tmp_path / "kept" / "tiny", "train", allow_change=["learning_rate"])
    assert policy_of(tmp_path / "kept" / "tiny") == before
    with pytest.raises(ConfigError, match="found results of other settings"):
        execute(other, tmp_path / "kept" / "tiny", "train")


def test_other_versions_are_refused_where_work_is_left(tmp_path: Path, tiny_config: Build) -> None:
    config = tiny_config(methods=SFT, train=RATES)
    begin(config, tmp_path / "tiny")
    facts = tmp_path / "tiny" / "run.json"
    found = read_json(facts)
    write_json(facts, found | {"versions": found["versions"] | {"torch": "1.0"}})
    with pytest.raises(ConfigError, match=r"torch 1\.0 -> .*--allow-change versions"):
        execute(config, tmp_path / "tiny", "train")
    assert any(a.startswith("refuse") for a in diagnose(RunFolder(tmp_path / "tiny")).actions)
    execute(config, tmp_path / "tiny", "train", allow_change=["versions"])
    assert read_json(facts)["versions"] == found["versions"]


def test_doctor_names_every_damage_and_going_on_repairs_it(
    tmp_path: Path, tiny_config: Build
) -> None:
    config = tiny_config(methods=SFT, train=RATES)
    path = tmp_path / "tiny"
    before = to_compare(execute(config, path).result)
    damaged = [path / "1-records/train.jsonl", path / "4-policies/sft/sft/model.safetensors"]
    for file in damaged:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    (path / "5-replies/sft/0.5-0.5").mkdir(exist_ok=True)
    (reply,) = sorted((path / "5-replies" / "sft").glob("*/manifest.json"))[:1]
    reply.unlink()
    damaged.append(reply)

    told = CliRunner().invoke(app, ["doctor", str(path)])
    assert told.exit_code == 1
    for file in damaged:
        assert str(file.relative_to(path)) in told.output
    assert "set aside 4-policies/sft/sft and make it again" in told.output
    found = json.loads(CliRunner().invoke(app, ["doctor", str(path), "--json", "-q"]).stdout)
    assert set(found["damaged"]) == {"1-records", "4-policies/sft/sft",
                                     reply.parent.relative_to(path).as_posix()}  # fmt: skip

    said: list[str] = []
    again = execute(config, path, voice=Voice(say=said.append)).result
    assert to_compare(again) == before
    for file in damaged:
        assert any(str(file) in text for text in said), file
    assert f"{damaged[1].parent}: made again, bit for bit as it was" in said
    healthy = CliRunner().invoke(app, ["doctor", str(path)])
    assert healthy.exit_code == 0, healthy.output
    assert "set aside earlier: .damaged/4-policies/sft/sft" in healthy.output
    assert all(find_problems(folder) == [] for folder in (path / "1-records", damaged[1].parent))


def to_compare(result: Any) -> Any:
    """What was measured, without the seconds it took."""
    return [(m.name, m.points, m.hypervolume) for m in result.methods]


def test_doctor_of_no_run_is_told(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert isinstance(found.exception, ConfigError)
    assert "expected the folder of a run" in str(found.exception)


@pytest.mark.parametrize("state", ["running", "done"])
def test_a_stop_while_the_status_is_written_is_told_there(
    tmp_path: Path, tiny_config: Build, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    plain = RunFolder.status

    def status(run: RunFolder, found: str, **facts: Any) -> None:
        plain(run, found, **facts)
        if found == state:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "status", status)
    config = tiny_config(methods=SFT)
    with pytest.raises(Interrupted), stoppable():
        execute(config, tmp_path / "tiny", "data")
    assert read_json(tmp_path / "tiny" / "status.json")["state"] == "interrupted"


def test_doctor_reads_the_base_of_a_run_too(tmp_path: Path, tiny_config: Build) -> None:
    path = tmp_path / "tiny"
    execute(tiny_config(methods=SFT), path, "data")
    assert diagnose(RunFolder(path)).is_healthy
    (file,) = (tmp_path / "bases").glob("*/model.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    found = diagnose(RunFolder(path))
    name = f"../bases/{file.parent.name}"
    assert not found.is_healthy and list(found.damaged) == [name]
    assert f"set aside {name} and make it again" in found.actions
    execute(tiny_config(methods=SFT), path, "data")
    assert diagnose(RunFolder(path)).is_healthy


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": 3}', '{"config": {"name": 1}}'])
def test_doctor_of_a_broken_run_tells_what_it_can(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    for name in ("status.json", "ledger.jsonl", ".lock"):
        (tmp_path / name).write_text(text)
    for name in ("1-records", "4-policies/dpo/a", "4-policies/dpo/.b.checkpoints/checkpoint-x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text(text)
    (tmp_path / "2-rewards").write_text("a file")
    (tmp_path / "5-replies").symlink_to(tmp_path / "nowhere")
    found = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert found.exit_code == 1 and not isinstance(found.exception, Exception), found.exception
    assert "damaged: 1-records" in found.output and "unknown" in found.output


def test_other_versions_are_allowed_for_a_base_too(
    tmp_path: Path, tiny_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"corpus": 256, "train": {"epochs": 1, "batch_size": 32, "checkpoint_steps": 2}}
    config = tiny_config(methods=SFT, base=base)

    def cut(what: str, done: int, total: int) -> None:
        if what == "base" and done > total / 2:
            raise Cut

    with pytest.raises(Cut):
        execute(config, tmp_path / "tiny", "data", Voice(step=cut))
    (folder,) = (tmp_path / "bases").glob(".*.checkpoints")
    (stopped,) = diagnose(RunFolder(tmp_path / "tiny")).stopped
    assert stopped.path == f"../bases/{folder.name[1:-12]}" and stopped.step > 0
    monkeypatch.setattr("paretune.pipeline.job_checkpoints.versions", lambda: {"torch": "9"})
    with pytest.raises(ConfigError, match=r"versions.torch .* -> 9"):
        execute(config, tmp_path / "tiny", "data")
    steps: list[int] = []
    heard = Voice(step=lambda what, done, total: what == "base" and steps.append(done))
    execute(config, tmp_path / "tiny", "data", heard, ["versions"])
    assert min(steps) > stopped.step
