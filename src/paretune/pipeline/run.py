"""The order of a run, top to bottom: the only file that knows it.

records -> base -> rewards -> comparisons -> policies and replies -> front -> report.
A stage whose inputs did not change is skipped, so the same call starts a run and continues it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import yaml

from paretune.core.policy import serves_any
from paretune.core.results import RunResult
from paretune.errors import (
    AllFailedError,
    ConfigError,
    InputError,
    Interrupted,
    ParetuneError,
    RunError,
)
from paretune.pipeline.base import base_of
from paretune.pipeline.card import model_card
from paretune.pipeline.changes import check_begun, require_changeable, require_same_versions
from paretune.pipeline.checking import preflight
from paretune.pipeline.comparisons import comparisons_stage, read_materials
from paretune.pipeline.config import MethodConfig, RunConfig, parse_config
from paretune.pipeline.damage import set_aside_damage, tell_restored
from paretune.pipeline.fingerprint import model_identity
from paretune.pipeline.folder import STATUS, RunFolder, Sealed, versions
from paretune.pipeline.measuring import FRONT, box_of, measure_run
from paretune.pipeline.needs import check_scores
from paretune.pipeline.pool import Outcome, Watch, default_workers, run_tasks
from paretune.pipeline.records import read_test_prompts, records_stage
from paretune.pipeline.rewards import rewards_stage
from paretune.pipeline.sweep import MethodPlan, check_rows, plan_run
from paretune.pipeline.tasks import Place, Task
from paretune.pipeline.traces import read_traces
from paretune.safety.disk import disk_errors
from paretune.safety.files import read_json, write_json, write_text
from paretune.safety.lock import locked
from paretune.safety.manifest import find_problems
from paretune.safety.secrets import without_secrets
from paretune.safety.stopping import stoppable

Until = Literal["data", "train", "eval", "report"]
_ORDER: tuple[Until, ...] = ("data", "train", "eval", "report")

Say = Callable[[str], None]
Step = Callable[[str, int, int], None]


@final
@dataclass(frozen=True)
class Voice:
    """How a run tells what it does; nothing is said by default.

    Args:
        say: one sentence, when a stage begins or ends.
        step: (what, done, all) inside a stage of one process.
        watch: (share, tasks done, all tasks, running) while tasks run.
    """

    say: Say = lambda text: None
    step: Step = lambda what, done, total: None
    watch: Watch | None = None


@final
@dataclass(frozen=True)
class Finished:
    """What a run gave.

    Args:
        run: its folder.
        result: everything measured; ``None`` when the run ended before evaluation.
        failed: task to what went wrong.
        report: the page, once it is written.
    """

    run: RunFolder
    result: RunResult | None
    failed: dict[str, str]
    report: Path | None = None


def execute(
    config: RunConfig,
    path: Path,
    until: Until = "report",
    voice: Voice | None = None,
    allow_change: Collection[str] = (),
) -> Finished:
    """Run, or go on with, everything up to a stage.

    Args:
        config: of the run.
        path: folder of the run, made when missing.
        until: ``data`` ends after the comparisons, ``train`` after the policies, ``eval`` after
            the front, ``report`` with the page.
        voice: hears what happens.
        allow_change: settings of :data:`paretune.pipeline.changes.CHANGEABLE` in which trainings
            that stopped, or are finished, may differ from ``config``.

    Raises:
        BusyError: if another process is at work in the folder.
        ConfigError: if the configuration cannot be carried out, or the folder holds results of
            other settings.
        Interrupted: on SIGTERM, SIGUSR1 or Ctrl-C; finished work is kept.
        RunError: if every method failed.
    """
    allowed = require_changeable(allow_change)
    preflight(config)
    run = RunFolder(path)
    with disk_errors(path), locked(path / ".lock"):
        return _guarded(config, run, until, voice or Voice(), allowed)


def _guarded(
    config: RunConfig, run: RunFolder, until: Until, voice: Voice, allowed: frozenset[str]
) -> Finished:
    """The run with its status on disk, whatever happens."""
    before = _status(run)
    if not (run.path / "run.json").exists():
        _write_facts(config, run)
    elif before.get("state") != "done":
        require_same_versions(run, allowed)
    try:
        with stoppable():
            run.status("running")
            finished = _execute(config, run, until, voice, allowed)
            run.status("failed" if finished.failed else "done", failed=finished.failed)
    except Interrupted as stop:
        with contextlib.suppress(OSError, RunError):
            run.status("interrupted", reason=str(stop))
        raise
    except Exception as error:
        if isinstance(error, InputError) and before.get("state") == "done":
            write_json(run.path / STATUS, before)  # what was refused changed nothing
        else:
            with contextlib.suppress(OSError, RunError):  # the first error is the one to tell
                run.status("failed", error=without_secrets(str(error)))
        raise
    return finished


def _status(run: RunFolder) -> dict[str, Any]:
    """What the run was when it was left; a damaged file tells nothing that matters."""
    try:
        return dict(read_json(run.path / STATUS))
    except (RunError, TypeError, ValueError):
        return {}


def _execute(
    config: RunConfig, run: RunFolder, until: Until, voice: Voice, allowed: frozenset[str]
) -> Finished:
    again = set_aside_damage(run, voice.say)
    voice.say("records: reading and checking")
    records = records_stage(config, run, voice.say, voice.step)
    voice.say(_account(records))
    base = base_of(config, run, voice.step, voice.say, allowed)
    identity = model_identity(base)
    voice.say(f"base: {base}")
    rewards = rewards_stage(config, run, base, identity, (records,), voice.step, voice.say, allowed)
    _say_accuracy(rewards, voice)
    comparisons = comparisons_stage(config, run, base, (records, rewards))
    facts = (comparisons.manifest or {})["facts"]
    voice.say(f"comparisons: {facts['comparisons']:,} of {facts['responses']:,} responses")
    rows = (facts["responses"], facts["comparisons"])
    n_prompts = len(read_test_prompts(config, run))
    plans = plan_run(config, run, rows, n_prompts, comparisons.identity, allowed)
    tasks = _once([t for plan in plans for t in (*plan.policies, *plan.replies, *plan.users)])
    check_begun(tasks, allowed, voice.say)
    # Only now is nothing refused any more: until here the folder tells of the settings it had.
    _write_facts(config, run)
    if until == "data":
        return Finished(run, None, {})
    box_of(config, run)  # a reward that never varies is refused before anything is trained
    data = read_materials(config, run, base).job_data.data
    check_scores(config, data)
    check_rows(plans, data, config.seed)
    if until == "train":
        tasks = _once([t for plan in plans for t in plan.policies])
    workers = config.workers or default_workers()
    voice.say(f"policies and replies: {len(tasks)} tasks on {workers} processes")
    outcome = run_tasks(tasks, Place(config, run, base, voice.say), workers, voice.watch)
    tell_restored(run, again, voice.say)
    if until == "train":
        return Finished(run, None, outcome.failed)
    _require_something(plans, outcome)
    result = measure_run(config, run, plans, outcome.failed)
    if until == "eval":
        return Finished(run, result, outcome.failed)
    return Finished(run, result, outcome.failed, report_stage(run, result))


def report_stage(run: RunFolder, result: RunResult) -> Path:
    """Write ``7-report/report.html`` and the front as a picture."""
    from paretune.reporting.figure import write_figure
    from paretune.reporting.report import write_report

    command = read_json(run.path / "run.json").get("command", "")
    write_figure([result], run.stage(7) / "front.png")
    page = run.stage(7) / "report.html"
    traces = [read_traces(run, result.objectives)]
    stepped = [stepped_methods(run)]
    write_report([result], page, command=command, traces=traces, stepped=stepped)
    write_text(run.path / "README.md", model_card(stored_config(run), result, command))
    return page


def load_result(run: RunFolder) -> RunResult:
    """What stage 6 measured.

    Raises:
        ConfigError: if the run is not evaluated yet.
        RunError: if the file is damaged.
    """
    path = run.stage(6) / FRONT
    if not path.is_file():
        raise ConfigError(f"{run.path}: found no {FRONT}, expected an evaluated run")
    if problems := find_problems(run.stage(6)):
        raise RunError(f"{'; '.join(problems)}: damaged; paretune eval {run.path} measures again")
    try:
        return RunResult.from_json(read_json(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: found {type(error).__name__} ({error}), expected the results that paretune "
            f"wrote; paretune eval {run.path} measures them again"
        ) from error


def stored_config(run: RunFolder) -> RunConfig:
    """The configuration that a run was started with.

    Raises:
        RunError: if ``run.json`` is damaged.
    """
    path = run.path / "run.json"
    try:
        return parse_config(read_json(path)["config"], path=path)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path}: found no configuration, expected the one it ran with") from error


def stepped_methods(run: RunFolder) -> tuple[str, ...]:
    """Methods of a run that answer with the policies they trained, and nothing between them.

    What cannot be told any more, of a damaged configuration or a method that is not installed, is
    left out: a report does without.
    """
    try:
        config = stored_config(run)
    except ParetuneError:
        return ()
    return tuple(m.name for m in config.methods if _is_stepped(config, m))


def _is_stepped(config: RunConfig, method: MethodConfig) -> bool:
    try:
        built, trained = config.build_method(method), config.tradeoffs_of(method)
        return not serves_any(lambda tradeoff: built.steer(tradeoff, trained), trained)
    except ParetuneError:
        return False


def _write_facts(config: RunConfig, run: RunFolder) -> None:
    """``run.json``: every resolved value, and how the run was started."""
    write_json(
        run.path / "run.json",
        {
            "config": json.loads(config.model_dump_json()),
            "command": shlex.join(["paretune", *sys.argv[1:]]),
            "versions": versions(),
        },
    )
    asked = config.model_dump(mode="json", exclude_unset=True)
    write_text(run.path / "run.yaml", yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))


def _once(tasks: list[Task]) -> list[Task]:
    """Tasks in their order; what methods share is done once."""
    return list({task.id: task for task in tasks}.values())


def _require_something(plans: list[MethodPlan], outcome: Outcome) -> None:
    reference, *methods = plans
    if any(t.id in outcome.failed for t in reference.replies):
        raise RunError(f"the reference policy failed: {next(iter(outcome.failed.values()))}")
    if all(any(t.id in outcome.failed for t in m.replies) for m in methods):
        task, problem = next(iter(outcome.failed.items()))
        raise AllFailedError(f"every method failed, first {task}: {problem}")


def _account(records: Sealed) -> str:
    facts: dict[str, Any] = (records.manifest or {})["facts"]
    skipped = sum(facts.get("skipped", {}).values()) + sum(facts.get("cut", {}).values())
    left_out = f", {skipped:,} left out (kept in 1-records/quarantine.jsonl)" if skipped else ""
    return (
        f"records: {facts['rows_read']:,} rows read, {facts['used']:,} used{left_out}; "
        f"{facts['test_prompts']:,} prompts kept for evaluation"
    )


def _say_accuracy(rewards: Sealed, voice: Voice) -> None:
    for name, accuracy in ((rewards.manifest or {})["facts"]).get("accuracy", {}).items():
        voice.say(f"reward model {name}: {accuracy:.3f} of held-out pairs right (chance .5)")
