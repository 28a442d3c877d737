"""Every kind of damage to a sealed folder is found, and named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.safety.manifest import (
    differences,
    differences_in_words,
    find_damage,
    find_problems,
    seal_files,
)


def folder(place: Path) -> Path:
    (place / "inner").mkdir()
    (place / "a.bin").write_bytes(bytes(range(256)) * 8)
    (place / "inner" / "b.txt").write_text("hello")
    return place


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def zero_tail(file: Path) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(len(content) - half))


def to_link(file: Path) -> None:
    copy = file.with_name("copy")
    os.replace(file, copy)
    file.symlink_to(copy)


def parent_to_link(file: Path) -> None:
    real = file.parent.with_name("real")
    os.replace(file.parent, real)
    file.parent.symlink_to(real)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "found no file, expected 5 bytes"),
    "cut": (lambda f: f.write_text("he"), "found 2 bytes, expected 5"),
    "grown": (lambda f: f.write_text("hello!"), "found 6 bytes, expected 5"),
    "one bit": (flip, "found other content"),
    "zeros": (zero_tail, "found other content"),
    "link": (to_link, "found a link"),
    "folder is a link": (parent_to_link, "found a link"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(tmp_path: Path, name: str) -> None:
    files = seal_files(folder(tmp_path))
    assert find_damage(tmp_path, files) == []
    damage, said = DAMAGES[name]
    damage(tmp_path / "inner" / "b.txt")
    (found,) = find_damage(tmp_path, files)
    assert found.startswith(f"{tmp_path}/inner/b.txt: {said}")


@pytest.mark.parametrize("seal", [None, 3, {}, {"bytes": "x", "sha256": ""}, {"bytes": 5}])
def test_a_manifest_may_be_damaged_itself(tmp_path: Path, seal: object) -> None:
    folder(tmp_path)
    (found,) = find_damage(tmp_path, {"inner/b.txt": seal})
    assert "in its manifest" in found


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "inner/../../x"])
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    (found,) = find_damage(tmp_path, {name: {"bytes": 1, "sha256": ""}})
    assert "leaves its folder" in found


def test_every_file_is_sealed_and_links_are_not_followed(tmp_path: Path) -> None:
    folder(tmp_path)
    assert sorted(seal_files(tmp_path)) == ["a.bin", "inner/b.txt"]
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(IsADirectoryError):
        seal_files(tmp_path)


def test_differences_name_the_key_and_both_values() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": "x" * 60}
    new = {"a": 1, "b": {"c": [1], "d": None}, "f": 2}
    found = differences(old, new)
    assert found == {"b.c": ([1, 2], [1]), "e": ("x" * 60, None), "f": (None, 2)}
    assert differences_in_words(found) == (
        f"b.c [1, 2] -> [1], e {'x' * 37}... -> none, f none -> 2"
    )


def test_a_manifest_of_before_there_were_hashes_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"identity": "x", "files": {"a": 1}}')
    (found,) = find_problems(tmp_path)
    assert found.endswith("found no sha256, expected one: an earlier version wrote it")
