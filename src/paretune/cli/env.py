"""env: versions and devices, for bug reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from paretune.cli.console import tell, tell_json
from paretune.cli.options import JsonOption

_PACKAGES = (
    "paretune", "torch", "transformers", "peft", "accelerate", "datasets", "trl", "moocore",
    "numpy", "scipy", "bitsandbytes",
)  # fmt: skip


def env(json: JsonOption = False) -> None:
    """Versions, devices and settings that matter, for bug reports."""
    import torch

    from paretune.engines.lm.forward import fast_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": str(os.cpu_count()),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "fast arithmetic": str(fast_dtype(device)).removeprefix("torch."),
        **{name: _version(name) for name in _PACKAGES},
        "telemetry": "paretune sends none; HF_HUB_DISABLE_TELEMETRY is set while it runs",
    }
    if json:
        tell_json(facts)
        return
    for name, value in facts.items():
        tell(f"{name:<16} {value}")
    tell("\nnext: paste this into your bug report")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
