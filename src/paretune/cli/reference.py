"""Reference pages made from the program: ``python -m paretune.cli.reference docs``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def cli_page() -> str:
    """``docs/cli.md``: the help of every verb, as the program prints it."""
    import click
    import typer

    from paretune.cli.main import app

    group = typer.main.get_command(app)
    assert isinstance(group, click.Group | typer.core.TyperGroup)
    parts = [
        "# Command line\n\nMade by `make docs` from the program itself.\n\nExit codes: 0 done, "
        "1 failed, 2 bad input, 75 interrupted and resumable by the same command. Results go to "
        "stdout, messages to stderr."
    ]
    for name, command in _commands(group):
        rows = [_option(p) for p in command.params if getattr(p, "name", "") != "help"]
        table = "| option | meaning |\n| --- | --- |\n" + "\n".join(rows) if rows else ""
        parts.append(f"## paretune {name}\n\n{inspect.cleandoc(command.help or '')}\n\n{table}")
    return "\n\n".join(p.rstrip() for p in parts) + "\n"


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb, and every verb of a verb, with its full name."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")


def papers_page() -> str:
    """``docs/papers.md``: paper, what it is, and every deviation, from the methods themselves."""
    from paretune.methods import load_methods

    parts = [
        "# Papers\n\nMade by `make docs` from the docstrings of `src/paretune/methods/`: what each "
        "method does, its hyper-parameters, and where it differs from its source."
    ]
    for name, cls in load_methods().items():
        paper = cls.paper
        link = paper
        if match := re.fullmatch(r"arXiv:(\d{4}\.\d{4,5})", paper):
            link = f"[{paper}](https://arxiv.org/abs/{match[1]})"
        text = inspect.cleandoc(cls.__doc__ or "")
        parts.append(f"## {name}\n\n{link}\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _option(parameter: object) -> str:
    names = ", ".join(getattr(parameter, "opts", []))
    if type(parameter).__name__.endswith("Argument"):
        names = str(getattr(parameter, "name", "")).upper()
    text = getattr(parameter, "help", None) or ""
    return f"| `{names}` | {text} |"


def main(folder: str) -> None:
    """Write both pages."""
    for name, page in (("cli.md", cli_page()), ("papers.md", papers_page())):
        (Path(folder) / name).write_text(page, encoding="utf-8")
        print(Path(folder) / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
