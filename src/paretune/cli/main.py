"""The ``paretune`` command."""

from __future__ import annotations

import sys

import typer

from paretune.cli import bench, check, env, init, ls, quickstart, report, run
from paretune.errors import ParetuneError

app = typer.Typer(
    name="paretune",
    help="Align language models along the whole Pareto front of what people want, and measure it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.quickstart)
app.command("init")(init.init)
app.command("ls")(ls.ls)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("data")(run.data)
app.command("train")(run.train)
app.command("eval")(run.evaluate)
app.command("report")(report.report)
app.command("bench")(bench.bench)
app.command("env")(env.env)


def main() -> None:
    """Run the command; exit codes: 0 done, 1 failed, 2 bad input, 75 interrupted, resumable."""
    try:
        app()
    except ParetuneError as error:
        print(f"paretune: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
