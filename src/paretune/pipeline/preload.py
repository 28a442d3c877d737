"""What every worker needs, imported once by the fork server."""

import signal

import torch

import paretune.engines.lm.generate
import paretune.engines.lm.jobs
import paretune.engines.lm.merge
import paretune.engines.lm.models
import paretune.pipeline.tasks  # noqa: F401
from paretune.safety.stopping import SIGNALS

torch.set_num_threads(1)
# A signal to the whole group of processes is the run's to answer: without the fork server it could
# start no worker when it goes on.
for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)
