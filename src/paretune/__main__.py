"""``python -m paretune``, and the ``paretune`` command: signals mean something from here on."""

from __future__ import annotations

import sys

from paretune.errors import Interrupted
from paretune.safety.stopping import stoppable


def main() -> None:
    """Run the command; see :func:`paretune.cli.main.main`."""
    try:
        with stoppable():
            # Imported inside: this takes a moment, in which a scheduler may already end us.
            from paretune.cli.main import main as command

            command()
    except Interrupted as stop:
        print(f"paretune: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()
