"""Reference log-probabilities are a column: right rows, any batching, NaN elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from paretune.engines.lm.batches import pack_rows
from paretune.engines.lm.forward import own_logps
from paretune.engines.lm.reference import reference_logps


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("tokens_per_batch", [1, 64, 8192])
def test_every_asked_response_has_its_value(lab: Any, name: str, tokens_per_batch: int) -> None:
    model, data = lab.model(name).train(), lab.encoded(6)
    asked = np.array([7, 2, 11, 3])
    found = reference_logps(model, data, asked, lab.pad, tokens_per_batch)
    assert model.training
    assert found.dtype == np.float64
    assert np.flatnonzero(~np.isnan(found)).tolist() == sorted(asked)
    with torch.no_grad():
        expected = [float(own_logps(model.eval(), pack_rows(data, [[n]], lab.pad))) for n in asked]
    np.testing.assert_allclose(found[asked], expected, atol=1e-5)


def test_nothing_asked(lab: Any) -> None:
    found = reference_logps(lab.model(), lab.encoded(2), np.zeros(0, np.int64), lab.pad)
    assert np.isnan(found).all() and len(found) == 4
