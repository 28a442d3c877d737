"""How much the page of multi-objective FSPO may measure without a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from paretune.bench.taste import Taste


@final
@dataclass(frozen=True)
class Budget:
    """Sizes of the measurements.

    Args:
        seeds: repetitions of everything random, >= 1.
        fonseca_weights: trade-offs on Fonseca and Fleming's problem.
        fonseca_starts: starts of each.
        fonseca_steps: of Adam.
        has_gradients: also scalarizers that combine gradients, which take most of the time.
        batches: random batches of whatever is counted over batches.
        train_users: users that a few-shot policy is trained with.
        new_users: users that it is asked about.
        epochs: of its training.
    """

    seeds: int = 5
    fonseca_weights: int = 19
    fonseca_starts: int = 3
    fonseca_steps: int = 1500
    has_gradients: bool = True
    batches: int = 300
    train_users: int = 400
    new_users: int = 100
    epochs: int = 12

    @classmethod
    def tiny(cls) -> Budget:
        """Enough to see that everything runs, in seconds."""
        return cls(2, 3, 1, 60, False, 40, 20, 6, 1)

    def taste(self, seed: int, **options: Any) -> Taste:
        """The few-shot problem with these sizes."""
        return Taste(
            n_train=self.train_users, n_new=self.new_users, epochs=self.epochs, seed=seed, **options
        )
