"""What every worker needs, imported once by the fork server."""

import torch

import paretune.engines.lm.generate
import paretune.engines.lm.jobs
import paretune.engines.lm.merge
import paretune.engines.lm.models
import paretune.pipeline.tasks  # noqa: F401

torch.set_num_threads(1)
