"""A language model as a judge of comparisons: both orders asked, their difference is the label.

Whatever a judge likes about the place of a response, it likes in both orders, so it cancels:
equal texts get exactly 0, and turning a comparison around turns its label. A comparison without
both answers has no label (NaN), never a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.core.record import Prompt
from paretune.errors import ShapeError
from paretune.scoring.judge_asking import Account, Ask, Limits, Progress, ask_all
from paretune.scoring.judge_cache import AnswerCache, answer_key
from paretune.scoring.judge_prompt import Form, Question

Pair = tuple[Prompt, str, str]
"""Prompt, first response, second response."""
Wanted = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True)
class Judged:
    """What a judge says.

    Args:
        labels: ``(P, M)`` in [-1, 1], 1 = the first response is better, NaN = no label.
        wanted: how many labels were asked for.
        account: how the answers came about.
    """

    labels: npt.NDArray[np.float64]
    wanted: int
    account: Account

    @property
    def null(self) -> int:
        """Labels that were asked for and are missing."""
        return self.wanted - int((~np.isnan(self.labels)).sum())


def judge_comparisons(
    form: Form,
    objectives: Objectives,
    pairs: Sequence[Pair],
    ask: Ask,
    *,
    wanted: Wanted | None = None,
    cache: AnswerCache | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Judged:
    r"""Labels of comparisons by a judge, :math:`s = (s_{AB} - s_{BA}) / 2` on each objective.

    Args:
        form: how questions are put.
        objectives: M names, one a column.
        pairs: P comparisons.
        ask: sends the body of a request and returns the text of the answer, such as
            :meth:`paretune.scoring.judge_client.Endpoint.ask`.
        wanted: ``(P, M)`` which labels to ask for; ``None`` = all.
        cache: answers that are known, and where new ones are kept; ``None`` keeps nothing.
        limits: how hard to ask.
        progress: called with (questions settled, questions in all).

    Returns:
        The labels, NaN wherever none was wanted or an answer is missing.

    Raises:
        ShapeError: if ``wanted`` has another shape.
        RunError: if an answer cannot be kept.

    Source:
        Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", section 3.4,
        asks both orders and calls disagreement a tie. Deviation: the mean of the two scores, so
        that the strength of a preference is kept.

    Example:
        >>> def ask(body):  # likes long answers, and the first place
        ...     is_first = body.index(b"long") < body.index(b"short")
        ...     return '{"score": 3}' if is_first else '{"score": 1}'
        >>> one = Objectives(("detail",))
        >>> judge_comparisons(Form("m"), one, [("Hi", "a long one", "short")], ask).labels
        array([[0.33333333]])
    """
    chosen = _chosen(wanted, len(pairs), len(objectives))
    # Not `cache or ...`: an empty cache is a cache.
    cache = AnswerCache() if cache is None else cache
    names = objectives.names
    cells = np.argwhere(chosen)
    ends = [
        (_key(form, question), _key(form, question.turned))
        for question in _questions(names, pairs, cells)
    ]
    # The text of a question is made again when it is asked: all of them may not fit in memory.
    places: dict[str, tuple[int, bool]] = {}
    for n, (forth, back) in enumerate(ends):
        places.setdefault(forth, (n, False))
        places.setdefault(back, (n, True))

    def body_of(key: str) -> bytes:
        n, is_turned = places[key]
        question = next(_questions(names, pairs, cells[n : n + 1]))
        return form.body(question.turned if is_turned else question)

    account = ask_all(list(places), body_of, ask, cache, limits or Limits(), progress)
    labels = np.full(chosen.shape, np.nan)
    for (row, column), (forth, back) in zip(cells, ends, strict=True):
        if forth in cache and back in cache:
            labels[row, column] = (cache[forth] - cache[back]) / 2
    return Judged(labels, len(cells), account)


def count_questions(
    form: Form,
    objectives: Objectives,
    pairs: Sequence[Pair],
    cache: AnswerCache,
    wanted: Wanted | None = None,
) -> tuple[int, int]:
    """How many different questions comparisons need, and how many of them are answered already."""
    cells = np.argwhere(_chosen(wanted, len(pairs), len(objectives)))
    keys = set()
    for question in _questions(objectives.names, pairs, cells):
        keys |= {_key(form, question), _key(form, question.turned)}
    return len(keys), sum(key in cache for key in keys)


def _key(form: Form, question: Question) -> str:
    return answer_key(form.body(question))


def _questions(
    names: Sequence[str], pairs: Sequence[Pair], cells: npt.NDArray[np.int64]
) -> Iterator[Question]:
    for row, column in cells:
        yield Question(names[column], *pairs[row])


def _chosen(wanted: Wanted | None, n_pairs: int, n_objectives: int) -> Wanted:
    shape = (n_pairs, n_objectives)
    if wanted is None:
        return np.ones(shape, dtype=np.bool_)
    if wanted.shape != shape:
        raise ShapeError(f"judge: found wanted of shape {wanted.shape}, expected {shape}")
    return wanted
