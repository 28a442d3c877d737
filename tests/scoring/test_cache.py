from __future__ import annotations

import struct

import pytest

from paretune.core.record import Message
from paretune.errors import InputError, RunError
from paretune.scoring.cache import HEADER, RewardCache, read_rewards, reward_key

KEYS = [reward_key("v1", f"prompt {i}", "reply") for i in range(4)]
VALUES = [0.1, -1e300, 5e-324, 1 / 3]
SIZE = 44


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "sub" / "a.rewards"
    with RewardCache(path).writing() as append:
        append(KEYS[:3], VALUES[:3])
        append(KEYS[3:], VALUES[3:])
    return path


def test_keys_tell_every_part_apart():
    chat = (Message("user", "a"),)
    keys = {
        reward_key(*parts)
        for parts in [("s", "a", "b"), ("s", "ab", ""), ("s", "", "ab"), ("sa", "", "b"),
                      ("t", "a", "b"), ("s", chat, "b"), ("s", (Message("system", "a"),), "b")]
    }  # fmt: skip
    assert len(keys) == 7
    assert all(len(key) == 32 for key in keys)


def test_a_broken_surrogate_has_a_key():
    assert reward_key("s", "\ud800", "b") != reward_key("s", "\ud801", "b")


def test_round_trip_is_exact_and_small(path):
    found = read_rewards(path)
    assert [struct.pack("d", found[k]) for k in KEYS] == [struct.pack("d", v) for v in VALUES]
    assert path.stat().st_size == len(HEADER) + 4 * SIZE


def test_append_only(path):
    before = path.read_bytes()
    with RewardCache(path).writing() as append:
        append([reward_key("v1", "new", "reply")], [2.0])
    assert path.read_bytes()[: len(before)] == before


def test_memory_only_touches_no_disk(tmp_path):
    cache = RewardCache(None)
    with cache.writing() as append:
        append(KEYS[:1], [0.5])
    assert KEYS[0] in cache
    assert cache[KEYS[0]] == 0.5
    assert len(cache) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", range(SIZE))
def test_a_record_torn_at_any_byte_is_ignored_and_overwritten(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - SIZE + kept])
    cache = RewardCache(path)
    assert [key in cache for key in KEYS] == [True, True, True, False]
    with cache.writing() as append:
        append(KEYS[3:], VALUES[3:])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kept", range(len(HEADER)))
def test_a_torn_header_is_written_again(path, kept):
    path.write_bytes(HEADER[:kept])
    cache = RewardCache(path)
    assert len(cache) == 0
    with cache.writing() as append:
        append(KEYS[:1], VALUES[:1])
    assert read_rewards(path) == {KEYS[0]: VALUES[0]}


@pytest.mark.parametrize("byte", range(SIZE))
def test_a_flipped_bit_is_never_read_as_a_reward(path, byte):
    data = bytearray(path.read_bytes())
    data[len(HEADER) + SIZE + byte] ^= 0b100
    path.write_bytes(data)
    found = read_rewards(path)
    assert found == {k: v for i, (k, v) in enumerate(zip(KEYS, VALUES, strict=True)) if i != 1}


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    with pytest.raises(InputError, match=r"notes\.txt: found a file that starts with b'dear d"):
        RewardCache(path)
    assert path.read_text() == "dear diary"


def test_one_writer_and_any_number_of_readers(path):
    first, second = RewardCache(path), RewardCache(path)
    new = reward_key("v1", "new", "reply")
    with first.writing() as append:
        append([new], [7.0])
        assert read_rewards(path)[new] == 7.0
        with pytest.raises(RunError, match="another process is writing it"), second.writing():
            pytest.fail("two writers")
    with second.writing():
        assert second[new] == 7.0
