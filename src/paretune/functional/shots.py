"""Shots: which preference pairs of a user stand in a prompt.

Every draw is a hash of (seed, what is drawn), never the state of a generator: a run that goes on
after a break, or whose rows are batched otherwise, shows the same pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData, Prompt
from paretune.core.shots import Examples
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot, User, Utility
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.draws import Keys, hash_keys, uniform
from paretune.functional.utility import utility_gap

Ints = npt.NDArray[np.int64]

# Names of what is drawn: no two purposes share a draw.
_DEAL, _NUMBER, _SHOWN, _NOISE, _BANK, _OTHER = 33, 34, 35, 36, 37, 38

# A utility gap closer to 0 than this is rounding: the user prefers neither.
_TIE = 1e-12

# Cells of a table of keys that are held at once.
_CELLS = 1 << 21


def deal_comparisons(n_users: int, n_comparisons: int, pairs_per_user: int, seed: int) -> Examples:
    """Give each user comparisons to have an opinion on, like cards from a shuffled deck.

    The deck is shuffled anew whenever fewer cards than a hand are left, so that every comparison
    is dealt about equally often and no user gets one twice. What a user gets depends on the row
    of the user, the sizes and the seed.

    Args:
        n_users: U, >= 0.
        n_comparisons: P, >= ``pairs_per_user``.
        pairs_per_user: comparisons of each user, >= 1.
        seed: of the shuffles.

    Returns:
        ``U * pairs_per_user`` examples, those of a user side by side.

    Raises:
        ConfigError: if a number is out of range.

    Example:
        >>> examples = deal_comparisons(n_users=3, n_comparisons=4, pairs_per_user=2, seed=0)
        >>> examples.user_of, sorted(examples.comparison_of[:4].tolist())
        (array([0, 0, 1, 1, 2, 2]), [0, 1, 2, 3])
    """
    if n_users < 0 or not 1 <= pairs_per_user <= n_comparisons:
        raise ConfigError(
            f"deal: found {n_users} users, {n_comparisons} comparisons and {pairs_per_user} pairs "
            "a user, expected users >= 0 and 1 <= pairs_per_user <= comparisons"
        )
    hands = n_comparisons // pairs_per_user
    decks = [
        np.argsort(hash_keys(seed, _DEAL, deck, np.arange(n_comparisons)), kind="stable")
        for deck in range(-(-n_users // hands))
    ]
    cards = [deck[: hands * pairs_per_user] for deck in decks]
    dealt = np.concatenate(cards) if cards else np.zeros(0, np.int64)
    users = np.repeat(np.arange(n_users), pairs_per_user)
    return Examples(users, dealt[: len(users)].astype(np.int64))


def other_users(user_of: Ints, n_users: int, seed: int) -> Ints:
    """Somebody else for each row: whose pairs are shown to measure what one's own are worth.

    Args:
        user_of: ``(E,)`` rows of users.
        n_users: U, >= 2.
        seed: of the draws.

    Returns:
        ``(E,)`` a user of 0..U-1 that is not the one of the row; rows of a user share it.

    Raises:
        ConfigError: if there are fewer than two users.
    """
    if n_users < 2:
        raise ConfigError(f"other users: found {n_users} users, expected at least 2")
    steps = 1 + uniform(hash_keys(seed, _OTHER, np.arange(n_users))) * (n_users - 1)
    return np.asarray((user_of + steps.astype(np.int64)[user_of]) % n_users)


def is_usable(gaps: npt.NDArray[np.float64], min_gap: float = 0.0) -> npt.NDArray[np.bool_]:
    """``(E,)`` whether a pair shows what its user prefers: a gap of that size, known and no tie.

    Example:
        >>> is_usable(np.array([0.3, -0.3, 0.01, 0.0, np.nan]), min_gap=0.05).tolist()
        [True, True, False, False, False]
    """
    size = np.abs(np.nan_to_num(gaps))
    return np.asarray((size >= min_gap) & (size > _TIE))


def orient(
    gaps: npt.NDArray[np.float64], label_noise: float | None = None, seed: int = 0
) -> npt.NDArray[np.bool_]:
    r"""Whether the *second* response of each example is the one its user picks.

    Args:
        gaps: ``(E,)`` utility of the first response minus that of the second.
        label_noise: slope k > 0: the better response is picked with probability
            :math:`\sigma(k\,|gap|)`; ``None``: always. An example is judged once: a user who errs
            errs in the same way at every visit.
        seed: of the errors.

    Returns:
        ``(E,)`` bool; False where the gap is unknown.

    Example:
        >>> orient(np.array([0.3, -0.3, np.nan])).tolist()
        [False, True, False]
    """
    prefers_second = np.nan_to_num(gaps) < 0
    if label_noise is None:
        return np.asarray(prefers_second)
    chance = 1 / (1 + np.exp(-np.clip(label_noise * np.abs(np.nan_to_num(gaps)), 0, 700)))
    errs = uniform(hash_keys(seed, _NOISE, np.arange(len(gaps)))) >= chance
    return np.asarray(prefers_second ^ errs)


def draw_shots(
    queries: Examples,
    visits: Ints,
    epochs: Ints,
    prompt_of: Ints,
    n_shots: tuple[int, int],
    seed: int,
    pool: Examples | None = None,
    is_shown: npt.NDArray[np.bool_] | None = None,
    shown_by: Ints | None = None,
    pool_prompt_of: Ints | None = None,
) -> Ints:
    """Which pairs each visit shows.

    A visit draws its number of shots uniformly and then as many pairs of one user, in random
    order, by hash of (seed, epoch, example). No pair is the query's own comparison or has its
    prompt. With fewer pairs left than drawn, all of them are shown. The first pairs are the same
    whatever ``n_shots`` is: asking for two shows the first two of eight.

    Args:
        queries: E examples that are asked.
        visits: ``(V,)`` rows of ``queries``.
        epochs: ``(V,)`` of each visit; another epoch shows other pairs.
        prompt_of: ``(P,)`` prompt of each comparison of the data.
        n_shots: fewest and most.
        seed: any integer.
        pool: Q examples that may be shown; ``None``: the queries themselves.
        is_shown: ``(Q,)`` False keeps a pair of the pool out, as :func:`is_usable` says; ``None``:
            all may be shown.
        shown_by: ``(E,)`` user whose pairs a query sees; ``None``: its own user's.
        pool_prompt_of: prompt of each comparison of the pool, where the pool is of other data:
            equal prompts must have equal numbers on both sides (:func:`joint_prompts`).

    Returns:
        ``(V, n_shots[1])`` rows of ``pool`` in the order in which they are shown, the oldest
        first; -1 fills the end of a row.

    Raises:
        ShapeError: if the columns do not fit together.

    Example:
        >>> examples = Examples(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]))
        >>> visits, epochs = np.array([0, 3]), np.array([0, 0])
        >>> rows = draw_shots(examples, visits, epochs, np.array([5, 6, 7]), (2, 2), seed=0)
        >>> sorted(rows[0].tolist()), rows[1].tolist()
        ([1, 2], [-1, -1])
    """
    source = queries if pool is None else pool
    usable = np.ones(len(source), np.bool_) if is_shown is None else is_shown
    asked_of = queries.user_of if shown_by is None else shown_by
    if usable.shape != (len(source),) or asked_of.shape != (len(queries),):
        raise ShapeError(
            f"shots: found is_shown {usable.shape} and shown_by {asked_of.shape}, expected "
            f"({len(source)},) and ({len(queries)},)"
        )
    if visits.shape != epochs.shape or visits.ndim != 1:
        raise ShapeError(f"shots: found visits {visits.shape}, epochs {epochs.shape}, one each")
    low, high = n_shots
    asked = prompt_of[queries.comparison_of]
    on = (prompt_of if pool_prompt_of is None else pool_prompt_of)[source.comparison_of]
    drawn = np.full((len(visits), high), -1, dtype=np.int64)
    if not high or not len(visits):
        return drawn
    shown = np.flatnonzero(usable)
    by_user = shown[np.argsort(source.user_of[shown], kind="stable")]
    owners = source.user_of[by_user]
    user = asked_of[visits]
    order = np.argsort(user, kind="stable")
    users, starts, counts = np.unique(user[order], return_index=True, return_counts=True)
    begins, ends = np.searchsorted(owners, users, "left"), np.searchsorted(owners, users, "right")
    for start, count, begin, end in zip(starts, counts, begins, ends, strict=True):
        mine = by_user[begin:end]
        step = max(1, _CELLS // max(1, len(mine)))
        for chunk in range(start, start + count, step):
            rows = order[chunk : min(chunk + step, start + count)]
            # A comparison has one prompt: this keeps the query's own comparison out as well.
            is_out = asked[visits[rows]][:, None] == on[mine][None, :]
            keys = hash_keys(
                seed, _SHOWN, epochs[rows][:, None], visits[rows][:, None], mine[None, :]
            )
            drawn[rows] = _smallest(mine, keys, is_out, high)
    draws = uniform(hash_keys(seed, _NUMBER, epochs, visits))
    number = low + (draws * (high - low + 1)).astype(np.int64)
    drawn[np.arange(high)[None, :] >= number[:, None]] = -1
    return drawn


def joint_prompts(data: PreferenceData, other: PreferenceData) -> tuple[Ints, Ints]:
    """Prompt of each comparison of two data sets, equal prompts with equal numbers."""
    numbers: dict[Prompt, int] = {}
    both = []
    for part in (data, other):
        rows = [numbers.setdefault(prompt, len(numbers)) for prompt in part.prompts]
        both.append(np.asarray(rows, dtype=np.int64)[part.prompt_of[part.first]])
    return both[0], both[1]


def check_shots(user: User, shots: Sequence[Shot]) -> None:
    """Refuse shots of another user.

    Raises:
        InputError: naming the first shot that is not this user's.

    Example:
        >>> check_shots(User("ann", TradeOff((1.0,))), [Shot("ann", "q", "yes", "no")])
    """
    for number, shot in enumerate(shots, start=1):
        if shot.user != user.id:
            raise InputError(
                f"shots: found shot {number} of user {shot.user!r}, expected {user.id!r}"
            )


def shots_of(
    data: PreferenceData,
    users: Sequence[User],
    pool: Examples,
    is_flipped: npt.NDArray[np.bool_],
    rows: Sequence[int],
) -> tuple[Shot, ...]:
    """Examples as the shots that a prompt shows.

    Args:
        data: prompts, texts and comparisons.
        users: rows that ``pool.user_of`` means.
        pool: Q examples.
        is_flipped: ``(Q,)`` True where the second response is the chosen one (:func:`orient`).
        rows: of the pool; negative ones are left out.
    """
    shots = []
    for row in rows:
        if row < 0:
            continue
        comparison = pool.comparison_of[row]
        pair = (data.first[comparison], data.second[comparison])
        chosen, rejected = pair[::-1] if is_flipped[row] else pair
        shots.append(
            Shot(
                users[pool.user_of[row]].id,
                data.prompts[data.prompt_of[chosen]],
                data.texts[chosen],
                data.texts[rejected],
            )
        )
    return tuple(shots)


def shots_for_weights(
    bank: PreferenceData,
    tradeoff: TradeOff,
    n: int,
    seed: int = 0,
    query: Prompt | None = None,
    utility: Utility = "linear",
    min_gap: float = 0.05,
) -> tuple[Shot, ...]:
    """Shots of a user who never gave any: stored comparisons, labelled by a trade-off.

    Steers a few-shot policy by numbers, without training: the same bank shows any taste.

    Args:
        bank: comparisons with labels (and unit rewards for a Chebyshev utility).
        tradeoff: what is wanted; :func:`~paretune.functional.users.tradeoff_of` makes one of any
            weights and refuses those that say nothing.
        n: shots, >= 0; fewer if the bank has fewer that tell.
        seed: of the choice. With the same seed every trade-off meets the bank in the same order.
        query: the prompt that will be asked; no pair on it is shown.
        utility: by which responses are compared.
        min_gap: pairs with a smaller utility gap tell nothing.

    Returns:
        At most ``n`` shots, the same on every machine.

    Raises:
        ConfigError: if ``n`` is negative.
        ShapeError: if the weights are not one an objective of the bank.
        InputError: if no comparison of the bank tells anything.
    """
    if n < 0:
        raise ConfigError(f"shots: found n {n}, expected >= 0")
    user = User(f"weights-{tradeoff.slug}", tradeoff, utility)
    values = bank.rewards.values
    gaps = utility_gap(bank.labels, user, values[bank.first], values[bank.second])
    asked = next((i for i, prompt in enumerate(bank.prompts) if prompt == query), -1)
    is_other = bank.prompt_of[bank.first] != asked
    usable = np.flatnonzero(is_usable(gaps, min_gap) & is_other)
    if n and not len(usable):
        raise InputError(
            f"shots: found none of {bank.n_comparisons} comparisons with a utility gap of at least "
            f"{min_gap:g} at {tradeoff.slug}, expected one"
        )
    keys: Keys = hash_keys(seed, _BANK, usable)
    chosen = usable[np.argsort(keys, kind="stable")[:n]]
    pool = Examples(np.zeros(bank.n_comparisons, np.int64), np.arange(bank.n_comparisons))
    return shots_of(bank, (user,), pool, orient(gaps), chosen.tolist())


def _smallest(mine: Ints, keys: Keys, is_out: npt.NDArray[np.bool_], high: int) -> Ints:
    """For each row of keys, the entries of ``mine`` with the smallest; -1 at the end."""
    k = min(high, len(mine))
    found = np.full((len(keys), high), -1, dtype=np.int64)
    if not k:
        return found
    keys = np.where(is_out, np.uint64(0xFFFFFFFFFFFFFFFF), keys)
    best = np.argpartition(keys, k - 1, axis=1)[:, :k]
    rank = np.argsort(np.take_along_axis(keys, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, rank, axis=1)
    found[:, :k] = np.where(np.take_along_axis(is_out, best, axis=1), -1, mine[best])
    return found
