"""Problems that several tests of constrained optima share."""

import pytest
import torch


@pytest.fixture(params=(0, 1))
def batch(request):
    """Forty problems of three contexts, six actions and three floors that some policy keeps."""
    generator = torch.Generator().manual_seed(request.param)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    ref = rand(40, 3, 6).log().log_softmax(-1)
    p, q, policy = rand(40, 3, 6), rand(40, 3, 6, 3), rand(40, 3, 6).pow(3)
    floors = (policy / policy.sum(-1, keepdim=True))[..., None].mul(q).sum(-2).mean(-2)
    return ref, p, q, floors
