from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import paretune.methods as registry
from paretune.core.method import Method
from paretune.errors import ConfigError
from paretune.methods import build, load_methods, method_class, method_names
from paretune.methods.dpo import DPO


def test_listing_the_folder_is_the_registry() -> None:
    files = {path.stem for path in Path(registry.__file__).parent.glob("*.py")}
    assert set(method_names()) == {name for name in files if not name.startswith("_")}
    assert {"sft", "best_of_n", "dpo", "rewarded_soups", "pareto_hqd"} <= set(load_methods())
    assert list(method_names()) == sorted(method_names())


def test_every_method_file_has_its_test() -> None:
    for name in method_names():
        assert Path(__file__).with_name(f"test_{name}.py").exists()


def test_unknown_method_proposes_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'rewarded_soup' \(did you mean 'rewarded_soups'\?\)"):
        method_class("rewarded_soup")


class TestBuild:
    def test_defaults(self) -> None:
        assert build("dpo", {}) == DPO()

    def test_numbers_of_yaml(self) -> None:
        # YAML 1.1 reads 1e-2 as text and 1 as an integer.
        assert build("dpo", {"beta": "1e-2"}) == DPO(beta=0.01)
        assert type(build("dpo", {"beta": 1}).beta) is float

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("dpo", {"bata": 1.0}, r"'bata' \(did you mean 'beta'\?\); known: backbone, beta"),
            ("dpo", {"beta": "much"}, r"dpo.beta: found 'much' \(str\), expected float"),
            ("dpo", {"beta": True}, r"dpo.beta: found True \(bool\)"),
            ("dpo", {"beta": None}, r"dpo.beta: found None"),
            ("dpo", {"labels": "mix"}, r"dpo.labels: found 'mix' \(did you mean 'mixed'\?\)"),
            ("dpo", {"labels": 1}, r"dpo.labels: found 1"),
            ("best_of_n", {"n": 2.0}, r"best_of_n.n: found 2.0 \(float\), expected int"),
            ("best_of_n", {"n": "4"}, r"best_of_n.n: found '4' \(str\), expected int"),
            ("pareto_hqd", {"n_layers": "3"}, r"pareto_hqd.n_layers: found '3'"),
            ("pareto_hqd", {"stages": True}, r"pareto_hqd.stages: found True"),
            ("pareto_hqd", {"stages": 3}, r"pareto_hqd.stages: found 3; known: 1, 2"),
        ],
    )
    def test_refuses(self, name: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build(name, options)

    def test_nothing_for_an_option_that_may_be_nothing(self) -> None:
        assert build("pareto_hqd", {"n_layers": None}) == build("pareto_hqd", {})


@dataclass(frozen=True)
class Offered(Method):
    """From another package."""

    paper = "arXiv:0000.00000"
    needs = ()

    def plan(self, n_objectives, tradeoffs):
        return []

    def steer(self, tradeoff, trained):
        raise NotImplementedError


NOT_A_METHOD = 3


class TestEntryPoints:
    @pytest.fixture
    def offer(self, monkeypatch: pytest.MonkeyPatch):
        def offer(name: str, attribute: str) -> None:
            point = EntryPoint(name, f"here:{attribute}", registry.GROUP)
            monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
            monkeypatch.setattr(registry, "entry_points", lambda group: [point])

        return offer

    def test_is_a_method_like_any_other(self, offer) -> None:
        offer("offered", "Offered")
        assert "offered" in method_names()
        assert build("offered", {}) == Offered()

    def test_a_taken_name_is_refused(self, offer) -> None:
        offer("dpo", "Offered")
        with pytest.raises(ConfigError, match="here and in 'here:Offered'"):
            method_class("dpo")
        assert method_class("sft")

    def test_something_else_is_refused(self, offer) -> None:
        offer("three", "NOT_A_METHOD")
        with pytest.raises(ConfigError, match="found 3, expected"):
            method_class("three")
