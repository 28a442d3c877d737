import numpy as np
import pytest

from paretune.functional.draws import hash_keys, told_keys, uniform


def test_frozen_values():
    """The same on every machine and in every version: runs are continued across both."""
    # SplitMix64 of seed 0 starts with this number (Vigna's reference implementation).
    assert int(hash_keys(0)[0]) == 0xE220A8397B1DCDAF
    assert hash_keys(7, 1, np.arange(2)).tolist() == [int(k) for k in hash_keys(7, 1, [0, 1])]


def test_seed_and_purpose_are_not_interchangeable():
    seen = {int(hash_keys(seed, purpose)[0]) for seed in range(50) for purpose in range(50)}
    assert len(seen) == 2500


def test_order_and_company_do_not_matter():
    keys = hash_keys(3, 4, np.array([5, 6, 7]))
    assert hash_keys(3, 4, np.array([7, 5])).tolist() == keys[[2, 0]].tolist()
    assert hash_keys(3, 4, 6).tolist() == keys[[1]].tolist()


def test_arrays_broadcast():
    keys = hash_keys(0, np.array([[1], [2]]), np.array([3, 4]))
    assert keys.shape == (2, 2)
    assert keys[1, 0] == hash_keys(0, 2, 3)[0]


@pytest.mark.parametrize("stream", [0, 1, 5])
def test_numbers_are_uniform_and_streams_independent(stream):
    keys = hash_keys(1, 2, np.arange(100_000))
    values = uniform(keys, stream)
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, 20, (0, 1))[0]
    assert abs(counts - 5000).max() < 5 * np.sqrt(5000)
    assert abs(np.corrcoef(values, uniform(keys, stream + 1))[0, 1]) < 0.02
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02


def test_told_keys_of_jobs_are_apart():
    first = told_keys(3, "offline", 100)
    np.testing.assert_array_equal(told_keys(3, "offline", 40), first[:40])
    for other in (told_keys(4, "offline", 100), told_keys(3, "online-1", 100)):
        assert len(set(first.tolist()) & set(other.tolist())) == 0
