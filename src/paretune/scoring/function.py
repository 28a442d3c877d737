"""Rewards from a Python function in the user's own file."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.description import identity
from paretune.core.record import Prompt, prompt_json
from paretune.errors import InputError, ScoringError, nearest
from paretune.safety.secrets import without_secrets
from paretune.scoring.scorer import Scorer, checked_rewards

_ONE_ROW = ("prompt", "response")
_MANY_ROWS = ("prompts", "responses")
_SIGNATURES = "expected def NAME(prompt, response) or def NAME(prompts, responses)"


@final
class FunctionScorer(Scorer):
    """A reward that the user wrote as a plain function.

    The names of the parameters say how it is called::

        def brevity(prompt, response): ...           # one row, returns a number
        def brevity_batch(prompts, responses): ...   # many rows, returns one number a row

    A prompt is a ``str``, or a list of ``{"role", "content"}`` for a conversation.

    The identity is the content of the file and the name of the function: what the function reads
    elsewhere (another file, a clock, a random number) is the user's responsibility.

    Args:
        name: what messages call it.
        file: path of the Python file.
        function: name of the function in it.

    Raises:
        InputError: if the file or the function does not exist, the file cannot be run, or the
            parameters have other names.
    """

    def __init__(self, name: str, file: Path | str, function: str) -> None:
        self.name = name
        self.file = Path(file)
        self.function = function
        source = _read(self.file)
        self._identity = identity(
            {"file": hashlib.sha256(source).hexdigest(), "function": function}
        )
        self._fn = _find(_load(self.file, source), function, self.file)
        self._is_batched = _is_batched(self._fn, self.where)
        # A function of one row may be slow (a judge, an API): a kill then loses few calls.
        self.batch_rows = 256 if self._is_batched else 16

    @classmethod
    def parse(cls, name: str, text: str, folder: Path | str = ".") -> FunctionScorer:
        """A scorer from ``file.py:function``, the file taken relative to ``folder``.

        Raises:
            InputError: if the text has another form; otherwise as the class.
        """
        file, colon, function = text.rpartition(":")
        if not colon or not file.endswith(".py") or not function.isidentifier():
            raise InputError(f"reward {name}: found {text!r}, expected 'file.py:function'")
        return cls(name, Path(folder) / file, function)

    @property
    def where(self) -> str:
        """``file.py:function``, for messages."""
        return f"{self.file}:{self.function}"

    @property
    def identity(self) -> str:
        """Hash of the content of the file and the name of the function."""
        return self._identity

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N,)`` what the function returned, checked."""
        plain = [prompt_json(prompt) for prompt in prompts]
        if self._is_batched:
            values = self._call(None, plain, list(responses))
        else:
            values = [
                self._number(row, self._call(row, prompt, response))
                for row, (prompt, response) in enumerate(zip(plain, responses, strict=True))
            ]
        return checked_rewards(self.where, values, len(responses))

    def _call(self, row: int | None, prompts: Any, responses: Any) -> Any:
        try:
            return self._fn(prompts, responses)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f.lineno for f in frames if f.filename == str(self.file)]
            place = f" at {self.file}:{lines[-1]}" if lines else ""
            raise ScoringError(
                self.where,
                row,
                f"the function raised {type(error).__name__}: {without_secrets(str(error))}{place},"
                " expected a number",
            ) from error

    def _number(self, row: int, value: Any) -> float:
        try:
            if isinstance(value, str | bytes):
                raise TypeError("text is not a number")
            return float(value)
        except (TypeError, ValueError) as error:
            raise ScoringError(
                self.where,
                row,
                f"found {type(value).__name__} {repr(value)[:60]}, expected a number",
            ) from error


@final
class _Source(importlib.abc.InspectLoader):
    """Runs the very bytes that were hashed, and leaves no compiled file beside the user's."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path, self._source = path, source

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, str(self._path))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"reward file {file}: {error.strerror or error}, expected a Python file"
        ) from error


def _load(file: Path, source: bytes) -> ModuleType:
    # The digest in the name keeps two files, or two versions of one, apart.
    name = f"_paretune_reward_{hashlib.sha256(str(file.resolve()).encode() + source).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Source(file, source))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look the module up by name.
    sys.modules[name] = module
    try:
        _Source(file, source).exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"reward file {file}: {type(error).__name__}: {without_secrets(str(error))}, expected "
            "a file that runs"
        ) from error
    return module


def _find(module: ModuleType, function: str, file: Path) -> Callable[[Any, Any], Any]:
    found = getattr(module, function, None)
    if found is None:
        own = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise InputError(f"reward file {file}: no function {function!r}{nearest(function, own)}")
    if not callable(found):
        raise InputError(
            f"reward file {file}: {function!r} is {type(found).__name__}, expected a function"
        )
    checked: Callable[[Any, Any], Any] = found
    return checked


def _is_batched(fn: Callable[[Any, Any], Any], where: str) -> bool:
    """Whether the function takes many rows, told by the names of its two parameters."""
    names = tuple(inspect.signature(fn).parameters)
    if names not in (_ONE_ROW, _MANY_ROWS):
        raise InputError(f"{where}: found parameters ({', '.join(names)}), {_SIGNATURES}")
    return names == _MANY_ROWS
