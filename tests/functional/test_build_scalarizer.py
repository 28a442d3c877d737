"""Scalarizers by name."""

import dataclasses
import inspect

import pytest

from paretune.core.description import identity
from paretune.errors import ConfigError
from paretune.functional.build_scalarizer import SCALARIZERS, build_scalarizer
from paretune.functional.scalarizer import Scalarizer
from paretune.functional.scalarizers import Chebyshev, LogHypervolume

OPTIONS = {"loghv": {"reference": 5.0}}


@pytest.mark.parametrize("name", SCALARIZERS)
def test_every_name_builds_a_final_frozen_documented_scalarizer(name):
    found = build_scalarizer(name, OPTIONS.get(name))
    cls = type(found)
    assert isinstance(found, Scalarizer)
    assert cls.__final__
    assert found == build_scalarizer(name, OPTIONS.get(name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.anything = 1
    for field in dataclasses.fields(cls):
        assert f"\n    {field.name}: " in inspect.cleandoc(cls.__doc__), field.name
        assert f"self.{field.name}" in inspect.getsource(cls), field.name
    assert len(identity(found)) == 16


def test_the_defaults():
    assert build_scalarizer("chebyshev") == Chebyshev(0.05, "mean_one", "min", False, "auto")
    assert repr(build_scalarizer("stch")) == "SmoothChebyshev(mu=0.1, reduce='auto')"
    assert build_scalarizer("tilted").tau == 0.5
    hypervolume = build_scalarizer("pareto_hv")
    assert dataclasses.astuple(hypervolume) == (0.1, 1.0, "own", "max", 64)
    assert dataclasses.astuple(build_scalarizer("mirror")) == (0.1, 0.5, "auto")


def test_options_as_files_hold_them():
    assert build_scalarizer("stch", {"mu": "1e-2", "reduce": "example"}).mu == 0.01
    built = build_scalarizer("loghv", {"reference": [2, "3e0"]})
    assert built == LogHypervolume((2, 3.0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("chebyshew", {}, "did you mean 'chebyshev'"),
        ("hypervolume", {}, "known: chebyshev, hv_gradient, linear"),
        ("stch", {"mus": 1}, "did you mean 'mu'"),
        ("stch", {"mu": "small"}, "mu"),
        ("stch", {"mu": None}, "mu"),
        ("loghv", {}, "no reference"),
        ("upgrad", {"epsilon": 1}, "unknown option"),
    ],
)
def test_unknown_names_and_values_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_scalarizer(name, options)
