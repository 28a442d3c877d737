"""A full disk is told by its name."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.errors import RunError
from paretune.safety.disk import bytes_free, disk_errors, require_room, size_of


def test_a_save_that_would_not_fit_is_not_begun(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "yet", 1000)
    free = bytes_free(tmp_path)
    with pytest.raises(RunError, match=r"disk full: found [\d,]+ bytes free, expected [\d,]+"):
        require_room(tmp_path / "x", 2 * free)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_the_system_says_is_translated(tmp_path: Path, number: int) -> None:
    full = r"x: disk full: .* expected 5 bytes .*kept"
    with pytest.raises(RunError, match=full), disk_errors(tmp_path / "x", 5):
        raise OSError(number, "said by the system")


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 119936 vs 119824",
        "I/O error: File too large (os error 27)",
    ],
)
def test_what_libraries_say_is_translated(tmp_path: Path, said: str) -> None:
    with pytest.raises(RunError, match="disk full"), disk_errors(tmp_path / "x"):
        raise RuntimeError(said)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path / "x"):
        _ = 1 / 0


LIMIT = """
import resource, sys
from pathlib import Path
from paretune.errors import RunError
from paretune.safety.files import write_bytes
path = Path(sys.argv[1]) / "x"
write_bytes(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(path, bytes(5000))
except RunError as error:
    print(error)
print(path.read_bytes())
"""


def test_a_limit_on_files_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "disk full: found a limit of 1,000 bytes a file (ulimit -f), expected 5,000" in (
        done.stdout
    )
    assert done.stdout.endswith("b'old'\n")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_size_counts_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(10))
    (tmp_path / "y").write_bytes(bytes(5))
    assert size_of(tmp_path) == 15
