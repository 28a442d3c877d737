"""All that a training must keep to go on bit for bit, as tensors and JSON: nothing is pickled."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from paretune.engines.lm.finite import SkipCallback, is_finite
from paretune.errors import RunError
from paretune.safety.disk import disk_errors

_MODEL, _OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_STATE, _TRAINER = "state.json", "trainer_state.json"


class PlainState:
    """Mixed into a trainer of the library: what it saves, and how it goes on from it.

    A checkpoint holds the parameters that move, the buffers of the loss, Adam's averages, the place
    in the schedule, every random generator, and the log line that is not full yet. Hyper-parameters
    are not in it: they are the run's own.
    """

    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any
    state: Any
    skipped_steps = 0
    is_skipped = False
    may_skip = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.window: dict[str, list[Tensor]] = {}
        super().__init__(*args, **kwargs)

    def skip_nonfinite(self, most: int) -> None:
        """Leave out so many steps that are not finite, instead of stopping at the first."""
        self.may_skip = most > 0
        self.add_callback(SkipCallback(self, most))  # type: ignore[attr-defined]

    def moving(self) -> dict[str, Tensor]:
        """Parameters that train, and buffers that belong to a checkpoint, by name."""
        found = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        states = getattr(self.model, "states", None)
        if isinstance(states, torch.nn.ModuleList):
            found |= states.state_dict(prefix="states.")
        return found

    def is_finite(self) -> bool:
        """Whether every number that would be saved is one."""
        tensors = [p for p in self.model.parameters() if p.requires_grad]
        for values in self.optimizer.state.values():
            tensors += [v for v in values.values() if isinstance(v, Tensor)]
        return all(map(is_finite, tensors))

    def training_step(self, *given: Any, **named: Any) -> Tensor:
        """A batch; its loss waits for the log line, which the library would begin anew."""
        loss: Tensor = super().training_step(*given, **named)  # type: ignore[misc]
        self.window.setdefault("loss", []).append(loss.detach())
        return loss

    def mean_loss(self) -> float | None:
        """Of the steps since the last log line, which begins anew; ``None`` = there was none."""
        losses = self.window.pop("loss", [])
        if not losses:
            return None
        return (
            float(torch.stack(losses).sum()) * self.args.gradient_accumulation_steps / len(losses)
        )

    def log_state(self) -> dict[str, Any]:
        """What the next log line needs of the steps before, as JSON values."""
        return {
            "window": {
                name: [*_kind(values[0]), [float(v) for v in values]]
                for name, values in self.window.items()
                if values
            },
            "skipped_steps": self.skipped_steps,
        }

    def set_log_state(self, saved: Mapping[str, Any]) -> None:
        """Go on with a log line."""
        self.window.clear()
        self.skipped_steps = saved.get("skipped_steps", 0)
        for name, (dtype, device, values) in saved["window"].items():
            place = self.args.device if device == self.args.device.type else device
            self.window[name] = [
                torch.tensor(v, dtype=getattr(torch, dtype), device=place) for v in values
            ]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if getattr(self, "is_deepspeed_enabled", False) or getattr(self, "is_fsdp_enabled", False):
            raise RunError(
                "checkpoint: found parameters that are spread over processes (FSDP, DeepSpeed), "
                "expected each process to hold all of them"
            )
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        with disk_errors(folder):
            if self.args.should_save:
                model_state = {n: t.cpu().contiguous() for n, t in self.moving().items()}
                save_file(model_state, folder / _MODEL)
                save_file(_tensors(self.optimizer.state_dict()), folder / _OPTIMIZER)
                self.state.save_to_json(str(folder / _TRAINER))
                schedule = self.lr_scheduler.state_dict()
                _write(folder / _STATE, {
                    "schedule": {k: schedule[k] for k in ("last_epoch", "_step_count")},
                    "log": self.log_state(),
                })  # fmt: skip
            _save_random(folder, self.args.process_index)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        saved = load_file(folder / _MODEL)
        if set(saved) != set(self.moving()):
            raise RunError(
                f"{folder}: found {len(saved)} tensors, expected the {len(self.moving())} that "
                "train; the model is another one"
            )
        states = {n.removeprefix("states."): t for n, t in saved.items() if n.startswith("states.")}
        parameters = dict(self.model.named_parameters())
        if isinstance(getattr(self.model, "states", None), torch.nn.ModuleList):
            self.model.states.load_state_dict(states)
        with torch.no_grad():
            for name, tensor in saved.items():
                if name in parameters:
                    parameters[name].copy_(tensor)
        self.set_log_state(_read(folder / _STATE)["log"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        own = self.optimizer.state_dict()
        own["state"] = _nested(load_file(folder / _OPTIMIZER))
        self.optimizer.load_state_dict(own)
        scheduler = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)
        schedule = scheduler.state_dict() | _read(folder / _STATE)["schedule"]
        scheduler.load_state_dict(schedule)
        # The rate of this step as the schedule has it now, which is as it was unless the run's
        # settings were changed on purpose.
        rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, (base, factor) in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = base * factor(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            _load_random(Path(checkpoint), self.args.process_index)


def _kind(tensor: Tensor) -> tuple[str, str]:
    """Its type and device: the numbers of a log line are stacked with those that follow."""
    return str(tensor.dtype).removeprefix("torch."), tensor.device.type


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Averages of an optimizer, ``number/name`` to tensor."""
    found = {}
    for number, values in state["state"].items():
        for name, value in values.items():
            tensor = value if isinstance(value, Tensor) else torch.tensor(value)
            found[f"{number}/{name}"] = tensor.detach().cpu().contiguous()
    return found


def _nested(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition("/")
        found.setdefault(int(number), {})[name] = tensor
    return found


def _save_random(folder: Path, process: int) -> None:
    """Every generator of this process."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)
    tensors = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{n}": s for n, s in enumerate(torch.cuda.get_rng_state_all())}
    _write(folder / f"random-{process}.json", {
        "python": [version, list(words), gauss],
        "numpy": {**legacy, "state": {"key": legacy["state"]["key"].tolist(),
                                      "pos": int(legacy["state"]["pos"])}},
        "torch": {name: tensor.tolist() for name, tensor in tensors.items()},
    })  # fmt: skip


def _load_random(folder: Path, process: int) -> None:
    saved = _read(folder / f"random-{process}.json")
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    numpy = saved["numpy"]
    numpy["state"]["key"] = np.asarray(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy)
    states = {n: torch.tensor(v, dtype=torch.uint8) for n, v in saved["torch"].items()}
    torch.random.set_rng_state(states.pop("cpu"))
    for name, state in states.items():
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda.")))


def _write(path: Path, value: Any) -> None:
    """The seal makes it whole; NaN is a number here: a batch may have had nothing to say."""
    path.write_text(json.dumps(value), encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
