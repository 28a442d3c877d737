"""One process imports the heavy libraries once; every trial is a fork of it, so it costs seconds.

The server runs no tensor operation: a fork takes no threads along, and none may be missing. It
reads one JSON request a line and answers with one line when a child starts and when it ends.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def preload() -> None:
    """Everything that a trial would import."""
    import matplotlib.figure  # noqa: F401
    import peft  # noqa: F401
    import torch
    import trl  # noqa: F401
    from rig import trl_script  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer  # noqa: F401
    from trl import DPOConfig, DPOTrainer  # noqa: F401

    import paretune.bench.handy.world
    import paretune.cli.main
    import paretune.engines.lm.generate
    import paretune.engines.lm.jobs
    import paretune.methods.rewarded_soups
    import paretune.methods.sft
    import paretune.pipeline.run  # noqa: F401

    torch.set_num_threads(1)
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    # Arrow's allocator cleans up in a thread of its own, and prepares it for a fork.
    if sum(name != "jemalloc_bg_thd" for name in names) > 1 or threading.active_count() > 1:
        raise RuntimeError(f"the fork server found the threads {names}, expected one")


def serve() -> None:
    """Answer requests until the input ends."""
    preload()
    gc.freeze()  # a collection in a child would copy every page of the libraries
    awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    # A shell lets what it starts in the background ignore it, and so would every trial.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(wake)
    _tell({"ready": os.getpid()})
    requests = b""
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _tell_ended()
        if 0 in ready:
            part = os.read(0, 65536)
            if not part:
                return
            *lines, requests = (requests + part).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    code = _trial(request)
                    sys.stdout.flush()
                    # Taking the libraries apart, page by page, would take longer than a trial.
                    os._exit(code)
                _tell({"id": request["id"], "started": pid})


def _tell(row: dict[str, Any]) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")


def _tell_ended() -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        spent = usage.ru_utime + usage.ru_stime
        _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status), "cpu": spent})


def _trial(request: dict[str, Any]) -> int:
    """What a child does, in a process group and a folder of its own."""
    os.setpgid(0, 0)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    if request["file_limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does at its start
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    run: Callable[[list[str]], Any] = _TARGETS[request["target"]]
    if request["injection"] is not None:
        from rig.injector import Injection

        Injection(**request["injection"]).arm()
    try:
        run(request["arguments"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _run_paretune(arguments: list[str]) -> None:
    from paretune.__main__ import main

    sys.argv = ["paretune", *arguments]
    main()


def _run_trl(arguments: list[str]) -> None:
    from rig import trl_script

    trl_script.main(arguments)


_TARGETS: dict[str, Callable[[list[str]], Any]] = {"paretune": _run_paretune, "trl": _run_trl}

if __name__ == "__main__":
    sys.path[0] = str(HERE.parent)
    serve()
