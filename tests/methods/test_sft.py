from __future__ import annotations

import numpy as np
import torch

from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork
from paretune.engines.tabular import TabularEngine
from paretune.methods.sft import SFT

REFERENCE = torch.log_softmax(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]).double(), -1)


def test_the_policy_is_the_empirical_distribution() -> None:
    actions = np.array([0, 0, 1, 2, 1, 1])
    data = PreferenceData(
        ("p", "q"), tuple("abcdef"), np.array([0, 0, 0, 1, 1, 1]),
        RewardMatrix(Objectives.of("x", "y"), np.zeros((6, 2))),
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)),
    )  # fmt: skip
    for model in (Table(REFERENCE), TanhNetwork(REFERENCE)):
        engine = TabularEngine(model, data, actions)
        trained = engine.train(SFT().plan(2, []))
        policy = engine.steered(trained, SFT().steer(TradeOff((0.9, 0.1)), []))
        expected = torch.tensor([[2 / 3, 1 / 3, 0], [0, 2 / 3, 1 / 3]]).double()
        torch.testing.assert_close(policy.exp(), expected, atol=1e-5, rtol=0)


def test_one_policy_whatever_the_trade_off() -> None:
    tradeoffs = [TradeOff((0.0, 1.0)), TradeOff((1.0, 0.0))]
    assert [job.id for job in SFT().plan(2, tradeoffs)] == ["sft"]
    served = {SFT().steer(t, tradeoffs) for t in tradeoffs}
    assert len(served) == 1 and served.pop().tradeoff == TradeOff.even(2)
