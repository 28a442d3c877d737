"""report: the page and the picture of one or several evaluated runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli.console import prepare, relative, show_users, tell, tell_json
from paretune.cli.options import JsonOption


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of evaluated runs.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the page; default 7-report of the run.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    json: JsonOption = False,
) -> None:
    """Write report.html and front.png of one run, or of several side by side."""
    prepare()
    from paretune.pipeline.folder import open_run
    from paretune.pipeline.run import load_result, stepped_methods
    from paretune.pipeline.traces import read_traces
    from paretune.reporting.figure import write_figure
    from paretune.reporting.report import write_report
    from paretune.reporting.table import method_table
    from paretune.safety.files import read_json

    opened = [open_run(path) for path in runs]
    results = [load_result(run) for run in opened]
    folder = out or opened[0].stage(7)
    command = "; ".join(read_json(run.path / "run.json").get("command", "") for run in opened)
    write_figure(results, folder / "front.png")
    traces = [read_traces(run, r.objectives) for run, r in zip(opened, results, strict=True)]
    stepped = [stepped_methods(run) for run in opened]
    page = write_report(
        results, folder / "report.html", command=command, traces=traces, stepped=stepped
    )
    if json:
        tell_json({"report": str(page), "figure": str(folder / "front.png")})
    else:
        for result in results:
            tell(f"\n{result.name}\n\n{method_table(result).markdown()}")
            show_users(result)
        tell(f"\nresult: {relative(page)} and {relative(folder / 'front.png')}")
        tell("next:   open the page in a browser, or paretune init to start with your own data")
    if open_:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
