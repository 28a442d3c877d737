"""The loss of a step: its parents, its gradients, its exact two passes, against TRL as well."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from paretune.core.description import describe, identity
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.gradient_combination import MGDA
from paretune.functional.learned_weights import Mirror, RandomWeights, UncertaintyWeights
from paretune.functional.losses import PairBatch
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizers import (
    Chebyshev,
    Linear,
    LogHypervolume,
    SmoothChebyshev,
    Tilted,
)

NAN = math.nan
W = (0.2, 0.3, 0.5)
KINDS = ("sigmoid", "ipo", "soft")
SCALARIZERS = [
    Linear(),
    Chebyshev(),
    Chebyshev(rho=0, reduce="example"),
    SmoothChebyshev(),
    Tilted(),
    LogHypervolume(60.0),
    ParetoHypervolume(0.5),
    ParetoHypervolume(0.5, orientation="min"),
    Mirror(),
    UncertaintyWeights(),
    RandomWeights(),
    MGDA(),
]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def draw(n=6, n_objectives=3, seed=0, missing=0.0):
    """Margins, labels and trade-offs of users."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    labels = 2 * rand(n, n_objectives) - 1
    labels[rand(n, n_objectives) < missing] = NAN
    weights = rand(n, n_objectives)
    return 4 * rand(n) - 2, labels, weights / weights.sum(1, keepdim=True)


def loss_at(loss, margins, labels, weights=None, state=None, counts=None):
    if state is None:
        state = loss.scalarizer.start(labels.shape[1])
    return loss.scalarizer(loss.step_at(margins, labels, weights, counts), state)


def test_batch_by_hand():
    # Log-ratios: chosen 2 over 4 tokens, rejected -1 over 2: margin 1 a token, 3 in sums.
    batch = PairBatch(
        double(-3), double(-6), double(-5), double(-5), double(4), double(2),
        double([1.0, -0.5, NAN]), double([0.25, 0.25, 0.5]),
    )  # fmt: skip
    per_token = ScalarizedLoss(Linear(), None, beta=2)
    in_sums = ScalarizedLoss(Linear(), None, beta=2, is_length_normalized=False)
    none = torch.zeros(0)

    def hand(m):
        return (math.log(1 + math.exp(-2 * m)) + math.log(1 + math.exp(m))) / 2

    assert per_token.margins(batch).tolist() == [1]
    assert float(per_token(batch, none).loss) == pytest.approx(hand(1))
    assert float(in_sums(batch, none).loss) == pytest.approx(hand(3))
    assert per_token(batch, none).objective_weights.tolist() == [0.5, 0.5, 0]
    own = ScalarizedLoss(Linear(), (3.0, 1.0, 0.0), beta=2)
    assert float(own(batch, none).objective_weights[0]) == 0.75
    step = own.step(batch, double(2.0))
    assert step.counts.tolist() == [2]
    assert step.weights.tolist() == [[0.75, 0.25, 0]]
    assert step.is_labelled.tolist() == [[True, True, False]]


def test_chebyshev_needs_an_ideal_where_labels_tie():
    """Labels (1, 0): without an ideal the tie stands at log 2 and wins."""
    labels = double([1.0, 0.0])
    found = {}
    for ideal in ("zero", "margin"):
        loss = ScalarizedLoss(Chebyshev(0, "simplex"), (0.5, 0.5), beta=1.0, ideal=ideal)
        for m in (1.0, 3.0):
            slope = loss.cotangents(double(m), labels, None, torch.zeros(0))
            found[ideal, m] = float(slope)
    assert found["zero", 1.0] == found["zero", 3.0] == 0
    assert found["margin", 1.0] == pytest.approx(-0.1345, abs=5e-5)
    assert found["margin", 3.0] == pytest.approx(-0.0237, abs=5e-5)


# The gradient over a front is of one pair at a time: see the tests of ParetoHypervolume.
TOTAL = [s for s in SCALARIZERS if not isinstance(s, ParetoHypervolume)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scalarizer", TOTAL, ids=repr)
@pytest.mark.parametrize("has_users", [False, True])
def test_gradients_are_central_differences(kind, scalarizer, has_users):
    margins, labels, users = draw(missing=0.2)
    loss = ScalarizedLoss(scalarizer, None if has_users else W, kind, beta=1.3)
    weights, counts = (users if has_users else None), torch.arange(1.0, 7.0).double()
    state = scalarizer.start(3) + (0.3 if isinstance(scalarizer, Mirror) else 0)
    found = loss.cotangents(margins, labels, weights, state, counts)
    h, expected = 1e-5, torch.empty(6).double()
    for b in range(6):
        up, down = margins.clone(), margins.clone()
        up[b] += h
        down[b] -= h
        ends = [loss_at(loss, m, labels, weights, state, counts).loss for m in (up, down)]
        expected[b] = (ends[0] - ends[1]) / (2 * h)
    scale = float(expected.abs().max())
    assert scale > 0
    assert float((found - expected).abs().max()) / scale < 1e-6


class Policy(torch.nn.Module):
    """A small network from features of a pair to its margin."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
        ).double()

    def forward(self, features):
        return 3 * self.layers(features)[:, 0]

    def gradient(self):
        return torch.cat([p.grad.flatten() for p in self.parameters()])


FEATURES = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
PARTS = (slice(0, 2), slice(2, 4), slice(4, 6))


@pytest.mark.parametrize(
    "scalarizer",
    [Linear(), Chebyshev(), SmoothChebyshev(), Tilted(), ParetoHypervolume(), Mirror()],
    ids=repr,
)
def test_two_passes_are_one_step(scalarizer):
    _, labels, users = draw(missing=0.2)
    loss, state = ScalarizedLoss(scalarizer, None, beta=1.0), scalarizer.start(3)
    whole, parts = Policy(), Policy()
    loss_at(loss, whole(FEATURES), labels, users).loss.backward()
    with torch.no_grad():
        margins = torch.cat([parts(FEATURES[part]) for part in PARTS])
    slopes = loss.cotangents(margins, labels, users, state)
    for part in PARTS:
        (slopes[part] @ parts(FEATURES[part])).backward()
    torch.testing.assert_close(parts.gradient(), whole.gradient(), atol=1e-12, rtol=0)


def test_the_mean_of_small_batches_is_another_loss():
    _, labels, _ = draw(seed=4)
    off = {}
    for scalarizer in (Linear(), Chebyshev(rho=0), SmoothChebyshev()):
        loss, whole, parts = ScalarizedLoss(scalarizer, W, beta=1.0), Policy(), Policy()
        loss_at(loss, whole(FEATURES), labels).loss.backward()
        for part in PARTS:
            (loss_at(loss, parts(FEATURES[part]), labels[part]).loss / 3).backward()
        gap = (parts.gradient() - whole.gradient()).norm() / whole.gradient().norm()
        off[type(scalarizer).__name__] = float(gap)
    assert off["Linear"] < 1e-12
    assert off["Chebyshev"] > 0.1
    assert off["SmoothChebyshev"] > 0.1


def test_cotangents_where_gradients_are_off():
    margins, labels, users = draw()
    loss = ScalarizedLoss(SmoothChebyshev(), None)
    with torch.no_grad():
        off = loss.cotangents(margins, labels, users, torch.zeros(0))
        value = loss_at(loss, margins, labels, users)
    assert torch.equal(off, loss.cotangents(margins, labels, users, torch.zeros(0)))
    assert off.any()
    assert value.objective_weights.any()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_objective_cotangents_are_gradients_of_mean_losses(missing):
    margins, labels, _ = draw(missing=missing)
    loss = ScalarizedLoss(MGDA(), W, beta=1.0)
    rows = loss.objective_cotangents(margins, labels)
    for d in range(3):
        leaf = margins.clone().requires_grad_()
        column = labels[:, d]
        seen = ~column.isnan()
        (-torch.nn.functional.logsigmoid(column[seen] * leaf[seen])).mean().backward()
        torch.testing.assert_close(rows[d], leaf.grad, atol=1e-15, rtol=0)
    # The step of a combination is that combination of the rows.
    weights = double(0.1, 0.7, 0.2)
    mixed = loss.cotangents(margins, labels, None, weights)
    torch.testing.assert_close(mixed, weights @ rows, atol=1e-15, rtol=0)


def test_objectives_conflict_only_where_labels_have_signs():
    """On one pair the gradients are parallel; over pairs, signs make them disagree."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, 999, dtype=torch.float64, generator=generator)
    loss, conflicts = ScalarizedLoss(Linear(), W, beta=1.0), {"signed": 0, "positive": 0}
    for seed in range(20):
        margins, labels, _ = draw(16, seed=seed)
        for mode in conflicts:
            used = labels if mode == "signed" else labels.abs()
            rows = loss.objective_cotangents(margins, used) @ features
            conflicts[mode] += int((rows @ rows.T < 0).sum())
    assert conflicts["positive"] == 0
    assert conflicts["signed"] > 20
    for b in range(4):
        one = loss.objective_cotangents(margins[b : b + 1], labels[b : b + 1]) @ features[:1]
        assert torch.linalg.matrix_rank(one) == 1


@pytest.mark.parametrize("kind", ["ipo", "soft"])
def test_scores_or_losses_first_is_one_gradient(kind):
    margins, labels, users = draw(missing=0.3)
    first, last = (
        ScalarizedLoss(Linear(), None, kind, beta=0.5, stage=s).cotangents(
            margins, labels, users, torch.zeros(0)
        )
        for s in ("score", "loss")
    )
    torch.testing.assert_close(first, last, atol=1e-13, rtol=0)


def test_scores_first_by_hand():
    loss = ScalarizedLoss(Linear(), (0.75, 0.25), beta=1.0, stage="score")
    found = loss_at(loss, double(2.0), double([1.0, -1.0]))
    assert float(found.loss) == pytest.approx(math.log(1 + math.exp(-1.0)))
    assert found.objective_weights.tolist() == [0.75, 0.25]


def test_clipped_labels_lose_the_other_side():
    loss = ScalarizedLoss(Linear(), (1.0,), score_mode="clip")
    slope = loss.cotangents(double(0.1, 0.1), double([0.5], [-0.5]), None, torch.zeros(0))
    assert slope[0] < 0
    assert slope[1] == 0


def test_float32_stays_float32():
    margins, labels, _ = draw()
    for scalarizer in SCALARIZERS:
        loss = ScalarizedLoss(scalarizer, W)
        found = loss_at(loss, margins.float(), labels.float())
        assert found.loss.dtype == found.objective_weights.dtype == torch.float32
        exact = loss_at(loss, margins, labels).loss
        assert float(found.loss) == pytest.approx(float(exact), rel=1e-5)


def test_descriptions_tell_losses_apart():
    losses = [ScalarizedLoss(s, W) for s in SCALARIZERS]
    losses += [ScalarizedLoss(Linear(), None), ScalarizedLoss(Linear(), W, beta=1.0)]
    assert len({identity(loss) for loss in losses}) == len(losses)
    json.dumps([describe(loss) for loss in losses])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dpo"}, "kind"),
        ({"beta": 0}, "beta"),
        ({"score_mode": "sign"}, "score_mode"),
        ({"stage": "labels"}, "stage"),
        ({"ideal": "none"}, "ideal"),
        ({"kappa": -1}, "kappa"),
        ({"weights": (0.0, 0.0)}, "weights"),
        ({"weights": (NAN, 1.0)}, "weights"),
        ({"scalarizer": Chebyshev(orientation="max")}, "utilities"),
        ({"scalarizer": Tilted(), "stage": "score"}, "expected Linear"),
        ({"scalarizer": Linear("batch"), "stage": "score"}, "expected Linear"),
    ],
)
def test_wrong_fields_are_refused(options, message):
    with pytest.raises(ConfigError if "weights" not in options else InputError, match=message):
        ScalarizedLoss(**{"scalarizer": Linear(), "weights": (0.5, 0.5), **options})


def test_wrong_batches_are_refused():
    margins, labels, users = draw()
    with pytest.raises(InputError, match="without weights"):
        ScalarizedLoss(Linear(), None).step_at(margins, labels)
    with pytest.raises(ShapeError, match="2 weights for 3"):
        ScalarizedLoss(Linear(), (0.5, 0.5)).step_at(margins, labels)
    with pytest.raises(InputError, match="row 1"):
        users[1] = 0
        ScalarizedLoss(Linear(), None).step_at(margins, labels, users)
    labels[2, 1] = 1.5
    with pytest.raises(InputError, match="pair 2, objective 1"):
        ScalarizedLoss(Linear(), W).step_at(margins, labels)


def theirs(loss_type, beta, logps, is_response, reference):
    """Loss of TRL's trainer for given log-probabilities of tokens, chosen rows first."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    shape = logps.shape
    shown = SimpleNamespace(
        log_probs=logps, entropy=torch.zeros(shape), mean_logits=torch.zeros(shape),
        is_top1=torch.zeros(shape, dtype=torch.bool),
    )  # fmt: skip

    class Model(torch.nn.Module):
        def forward(self, **inputs):
            return shown

    class Metrics(dict):
        def __missing__(self, key):
            return self.setdefault(key, [])

    ours = SimpleNamespace(
        model=Model(), aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", loss_types=[loss_type], loss_weights=[1.0], beta=beta,
        use_weighting=False, _metrics={"train": Metrics()}, _total_train_tokens=0, _tp_size=1,
        accelerator=SimpleNamespace(
            device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x
        ),
    )  # fmt: skip
    mask = torch.nn.functional.pad(is_response, (1, 0))
    chosen, rejected = reference.chunk(2)
    inputs = {
        "completion_mask": mask, "input_ids": torch.zeros_like(mask), "attention_mask": mask,
        "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
    }  # fmt: skip
    return trainer._compute_loss(ours, ours.model, inputs, False)


@pytest.mark.parametrize(
    ("loss_type", "kind", "is_length_normalized"),
    [("sigmoid", "sigmoid", False), ("sigmoid_norm", "sigmoid", True), ("ipo", "ipo", True)],
)
@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), W])
def test_labels_of_one_give_the_loss_of_trl(loss_type, kind, is_length_normalized, weights):
    generator = torch.Generator().manual_seed(3)
    n, length = 5, 9
    tokens = torch.randint(1, length + 1, (2 * n,), generator=generator)
    is_response = (torch.arange(length) < tokens[:, None]).long()
    logps = -3 * torch.rand(2 * n, length, dtype=torch.float64, generator=generator) * is_response
    reference = -2.0 * tokens * torch.rand(2 * n, dtype=torch.float64, generator=generator)

    leaf = logps.clone().requires_grad_()
    expected = theirs(loss_type, 0.3, leaf, is_response, reference)
    expected.backward()

    own = logps.clone().requires_grad_()
    sums, labels = own.sum(1), torch.ones(n, 3, dtype=torch.float64)
    batch = PairBatch(
        sums[:n], sums[n:], reference[:n], reference[n:], tokens[:n], tokens[n:], labels
    )
    loss = ScalarizedLoss(Linear(), weights, kind, 0.3, is_length_normalized)
    found = loss(batch, torch.zeros(0)).loss
    found.backward()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    mask = is_response.bool()
    torch.testing.assert_close(own.grad[mask], leaf.grad[mask], atol=1e-12, rtol=0)
    assert own.grad[mask].abs().max() > 1e-3
