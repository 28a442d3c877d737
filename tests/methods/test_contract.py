"""Every file of ``methods/`` keeps the contract. A new method needs no change here."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest

from paretune.core.description import describe
from paretune.core.method import Method
from paretune.errors import ConfigError
from paretune.functional.simplex import lattice
from paretune.methods import build, load_methods

METHODS = load_methods()
MORE: Mapping[str, tuple[dict[str, Any], ...]] = {
    "dpo": (
        {"labels": "mixed"},
        {"labels": "summed"},
        {"labels": "agreeing"},
        {"labels": "single", "objective": 0},
        {"labels": "mixed", "backbone": "frozen"},
    ),
    "fspo": ({"scalarizer": "stch"}, {"description": "generate"}),
    "mod_decoding": (
        {"divergence": "alpha"},
        {"divergence": "forward_kl", "normalizer": "dropped"},
    ),
    "ham": ({"heads": 3, "head": "adapter"}, {"estimator": "monte_carlo"}),
    "mopo": (
        {"primary": 1},
        {"candidates": 4},
        {"primary": 1, "divergence": "alpha"},
        {"heads": "adapter"},
        {"thresholds": [0.5] * 4},
    ),
    "ric": (
        {"iterations": 0},
        {"iterations": 2, "keep": "pareto"},
        {"rule": "linf"},
        {"range_from": "gauss", "marker": "\n\nAssistant:"},
    ),
    "morlhf": ({"algorithm": "grpo"},),
    "scalarized_dpo": (
        {"scalarizer": "stch"},
        {"scalarizer": "mirror", "options": {"eta": 0.2}},
        {"backbone": "shared"},
        {"backbone": "frozen"},
        {"weights": "data"},
    ),
    "modpo": (
        {"margins": "policies"},
        {"backbone": "frozen"},
        {"margins": "policies", "backbone": "frozen"},
    ),
    "pareto_hqd": ({"stages": 1}, {"select": "linear"}, {"select": "random"}, {"select": "full"}),
}
"""Options beside the defaults, for methods with modes that exclude each other."""
CASES = [(name, options) for name in METHODS for options in ({}, *MORE.get(name, ()))]
SIZES = {"thresholds": (4,)}
"""Options that fix the number of objectives."""


@pytest.mark.parametrize(("name", "options"), CASES)
def test_plan_and_steering(name: str, options: dict[str, Any], check_contract) -> None:
    sizes = next((SIZES[o] for o in options if o in SIZES), (2, 3, 4))
    check_contract(build(name, options), sizes)


@pytest.mark.parametrize("name", METHODS)
def test_class_is_a_final_frozen_documented_dataclass(name: str) -> None:
    method = METHODS[name]
    assert method.__final__ is True, "mark it @final"
    assert method.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert method.__doc__ and not method.__doc__.startswith(method.__name__ + "("), "no docstring"
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}|https://\S+|ours", method.paper)
    assert set(method().needs) <= {"pairs", "scores"}
    for field in dataclasses.fields(method):
        given = {field.default, field.default_factory} - {dataclasses.MISSING}
        assert given, f"{field.name} has no default"


@pytest.mark.parametrize("name", METHODS)
def test_docstring_describes_each_field_once(name: str) -> None:
    method = METHODS[name]
    documented = _documented(method.__doc__ or "")
    assert documented == [f.name for f in dataclasses.fields(method)], "Args differ from the fields"


@pytest.mark.parametrize(
    ("name", "field"), [(n, f.name) for n, m in METHODS.items() for f in dataclasses.fields(m)]
)
def test_every_field_is_read(name: str, field: str) -> None:
    for options in ({}, *MORE.get(name, ())):
        method = build(name, options)
        for changed in _changed(method, field):
            if _behavior(changed) != _behavior(method):
                return
    pytest.fail(f"{name}.{field} changes neither the plan nor the steering")


@pytest.mark.parametrize(("name", "options"), CASES)
def test_json_round_trip(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    text = json.dumps(dataclasses.asdict(method))
    assert build(name, json.loads(text)) == method


@pytest.mark.parametrize(("name", "options"), CASES)
def test_unknown_option_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="unknown option 'no_such_field'"):
        build(name, {**options, "no_such_field": 1})


@pytest.mark.parametrize("name", METHODS)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    for field, annotation in typing.get_type_hints(METHODS[name]).items():
        if typing.get_origin(annotation) in (tuple, Mapping):
            continue
        kinds = typing.get_args(annotation) or (annotation,)
        if int in kinds or float in kinds:
            bad = [-1] if int in kinds else [-1.0, float("nan"), float("inf")]
            for value in bad:
                with pytest.raises(ConfigError, match=rf"{name}\.{field}: found"):
                    build(name, {field: value})


def _documented(docstring: str) -> list[str]:
    """Names of the Args section, in order."""
    match = re.search(r"\n( *)Args:\n(.*?)(?=\n\n|\Z)", docstring, re.DOTALL)
    return re.findall(rf"^{match[1]}    (\w+): \S", match[2], re.MULTILINE) if match else []


def _changed(method: Method, field: str) -> Iterator[Method]:
    """The method with other values of one field, as far as it accepts them."""
    annotation = typing.get_type_hints(type(method))[field]
    value = getattr(method, field)
    is_tuple = typing.get_origin(annotation) is tuple
    kinds = (annotation,) if is_tuple else typing.get_args(annotation) or (annotation,)
    candidates: list[Any] = []
    if typing.get_origin(annotation) is Mapping:
        candidates = [{"mu": 0.5}]
    elif typing.get_origin(annotation) is Literal:
        candidates = list(kinds)
    elif bool in kinds:
        candidates = [not value]
    elif int in kinds:
        candidates = [2, 3, 1]
    elif float in kinds:
        candidates = [0.25, 0.75, 4.0]
    elif str in kinds:
        candidates = ["other"]
    elif annotation == tuple[int, ...]:
        candidates = [(1, 3)]
    elif any(typing.get_origin(kind) is tuple for kind in kinds):
        candidates = [(0.25,) * 4, (None, 0.75, 0.5, 0.5)]
    for candidate in candidates:
        if candidate != value:
            try:
                yield dataclasses.replace(method, **{field: candidate})
            except ConfigError:
                continue


def _behavior(method: Method) -> str:
    tradeoffs = lattice(4, 2)
    try:
        method.plan(4, tradeoffs)
    except ConfigError as error:
        return f"refuses: {error}"
    steering = [describe(method.steer(t, tradeoffs)) for t in tradeoffs]
    return json.dumps([describe(method.plan(4, tradeoffs)), steering])


def test_the_checks_can_fail() -> None:
    assert _documented("One.\n\n    Args:\n        a: x.\n            b: y\n        c: z.\n") == [
        "a",
        "c",
    ]
    assert _documented("One.\n") == []
