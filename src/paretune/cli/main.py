"""The ``paretune`` command."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from types import TracebackType

import typer

from paretune.cli import (
    ask,
    bench,
    check,
    compare,
    doctor,
    env,
    export,
    init,
    ls,
    quickstart,
    report,
    run,
    serve,
)
from paretune.cli.console import tell
from paretune.errors import ParetuneError
from paretune.safety.disk import BROKEN, FULL
from paretune.safety.stopping import stoppable

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
app.command("compare")(compare.compare)
app.command("data")(run.data)
app.command("train")(run.train)
app.command("eval")(run.evaluate)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("ask")(ask.ask)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(bench.app, name="bench")
app.command("env")(env.env)


_NO_PLACE = (
    errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip


def main() -> None:
    """Run the command; exit codes: 0 done, 1 failed, 2 bad input, 75 interrupted, resumable."""
    # Policies, replies and data are the user's own: nobody else reads what is written from here on.
    os.umask(0o077)
    sys.excepthook = _tell_crash
    try:
        with stoppable():
            app()
    except ParetuneError as error:
        tell(f"paretune: {error}", sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in (*_NO_PLACE, *FULL, *BROKEN):
            raise
        is_disk = error.errno in (*FULL, *BROKEN)
        expected = "a disk with room that works" if is_disk else "a place to write (--runs, --out)"
        place = error.filename or "disk"
        tell(f"paretune: {place}: found {error.strerror}, expected {expected}", sys.stderr)
        sys.exit(1 if is_disk else 2)


def _tell_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A mistake of ours, told like everything else: its message may quote data."""
    tell("".join(traceback.format_exception(kind, error, trace)).rstrip(), sys.stderr)


if __name__ == "__main__":
    main()
