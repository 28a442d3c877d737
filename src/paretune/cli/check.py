"""check: the configuration and every row of the data, nothing trained."""

from __future__ import annotations

from paretune.cli.console import prepare, tell, tell_json
from paretune.cli.options import RUNS, ConfigArg, JsonOption, SetOption
from paretune.cli.run import load


def check(config: ConfigArg, set_: SetOption = None, json: JsonOption = False) -> None:
    """Check a configuration and all of its data; train nothing."""
    prepare()
    parsed, folder = load(config, set_, RUNS)
    from paretune.pipeline.checking import check_run

    summary, notes = check_run(parsed, folder)
    if json:
        tell_json({"data": summary.to_json(), "notes": notes})
        return
    tell(summary.to_markdown())
    for note in notes:
        tell(f"- {note}")
    tell(f"\nresult: {config} can run; nothing was trained or written")
    tell(f"next:   paretune run {config}" + "".join(f" --set {s}" for s in set_ or []))
