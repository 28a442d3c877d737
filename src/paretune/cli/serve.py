"""serve: a measured run as an OpenAI-compatible endpoint, a trade-off a request."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from paretune.cli.console import Console, prepare, tell
from paretune.cli.options import RunArg
from paretune.errors import ConfigError

if TYPE_CHECKING:
    from paretune.core.results import RunResult

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_KEY = "PARETUNE_API_KEY"


def serve(
    run: RunArg,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Which method answers; default: of the best front."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="To listen on; 0 = any that is free.")
    ] = 8000,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Replies decoded together.")] = 64,
    queue: Annotated[int, typer.Option("--queue", min=0, help="Replies that may wait.")] = 256,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens", min=1, help="Kept of prompts and replies at work: bounds the memory."
        ),
    ] = 131_072,
) -> None:
    """Answer OpenAI clients, each request with the trade-off it asks for.

    The key that clients need is taken from PARETUNE_API_KEY; without it one is made up and shown.
    """
    prepare()
    key = os.environ.get(_KEY, "")
    if host not in _LOOPBACK and not key:
        raise ConfigError(
            f"--host: found {host!r} without a key, expected {_KEY} in the environment where "
            "others can reach the server"
        )
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigError(
            f"{_KEY}: found a blank, or a sign that is not ASCII, expected none: no client could "
            "send this key"
        )
    from paretune.pipeline.folder import open_run
    from paretune.pipeline.serve import open_service
    from paretune.serving.app import build_app
    from paretune.serving.connections import listening, open_socket, run_until_told

    with open_socket(host, port) as opened:
        port = opened.getsockname()[1]
        with Console().closing() as console:
            console.say("reading the run and its policies")
            service = open_service(open_run(run), method, rows=rows, waiting=queue, tokens=tokens)
        shown = key or secrets.token_urlsafe(24)
        names = ", ".join(service.result.objectives)
        default = service.wishes.default
        tell(f"serving {service.result.name}: {names}; {default} answers")
        at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        page = f"{at}/   (the page asks for the key)" if key else f"{at}/#key={shown}"
        tell(f"\nresult: {page}\n        {at}/v1   (the API)")
        tell(
            "next:   open the first in a browser, or\n        "
            + _request(service.result, at, f"${_KEY}" if key else shown)
        )
        # Beside those whose replies are at work: connections that wait, and those that are refused.
        server = listening(build_app(service, shown), most=rows + queue + 192)
        sys.stdout.flush()  # whoever reads a pipe waits for the address
        run_until_told(server, opened)
        service.scheduler.close(5)


def _request(result: RunResult, at: str, key: str) -> str:
    """A line for a shell that asks for a reply."""
    body = {"model": result.name, "prompt": "...", "preference": {result.objectives[0]: 1}}
    # Double quotes: the shell puts a key in that is in the environment.
    return (
        f'curl -s {shlex.quote(at + "/v1/completions")} -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )
