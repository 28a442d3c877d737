"""The machine a table was measured on, in one line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def processor_name() -> str:
    """Model of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine_note(device: str) -> str:
    """Processor or GPU, threads, load and versions."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    can = torch.backends.cpu.get_cpu_capability()
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    libraries = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "trl"))
    return (
        f"Machine: {name} ({can}), {os.cpu_count()} cores, {torch.get_num_threads()} thread used; "
        f"load averages at the end {load}. {libraries}."
    )
