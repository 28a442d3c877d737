"""YAML read strictly: safe loader, no repeated key, and the line of every value for messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from paretune.errors import ConfigError

_LARGEST = 1 << 20
Where = dict[tuple[str | int, ...], int]


def read_yaml(path: Path) -> tuple[dict[str, Any], Where]:
    """A YAML mapping and the line of each of its values.

    Args:
        path: a file of at most 1 MiB.

    Returns:
        The values, and line numbers (from 1) by key path.

    Raises:
        ConfigError: if the file is missing, not YAML, not a mapping, or repeats a key.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: found no such file, expected a run configuration (run.yaml)")
    if path.stat().st_size > _LARGEST:
        raise ConfigError(f"{path}: found {path.stat().st_size} bytes, expected at most {_LARGEST}")
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not UTF-8: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: found keys nested too deep, expected a run.yaml") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: not YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: found {type(values).__name__}, expected keys and values")
    where: Where = {}
    try:
        _walk(node, (), where, path)
    except RecursionError as error:  # an alias inside its own anchor
        raise ConfigError(f"{path}: found a value that holds itself, expected a tree") from error
    return values, where


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``a.b=c`` on top of the values of a file; ``c`` is read as YAML.

    Raises:
        ConfigError: if an override has no ``=`` or goes through something that holds no keys.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set: found {override!r}, expected key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
        target: Any = values
        *path, last = key.split(".")
        for part in path:
            target = _step(target, part, key)
        if isinstance(target, list):
            target[_index(target, last, key)] = value
        else:
            target[last] = value
    return values


def _step(target: Any, part: str, key: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, key)]
    if target.get(part) is None:
        target[part] = {}
    if not isinstance(target[part], dict | list):
        raise ConfigError(f"--set {key}: {part} is {target[part]!r}, expected keys below it")
    return target[part]


def _index(target: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise ConfigError(f"--set {key}: found {part!r}, expected a number below {len(target)}")
    return int(part)


def _walk(node: Any, key: tuple[str | int, ...], where: Where, path: Path) -> None:
    where[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            name = str(key_node.value)
            if name in seen:
                raise ConfigError(
                    f"{path}:{key_node.start_mark.line + 1}: {name}: the key is repeated"
                )
            seen.add(name)
            _walk(value_node, (*key, name), where, path)
            where[(*key, name)] = key_node.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value_node in enumerate(node.value):
            _walk(value_node, (*key, index), where, path)
