"""Answers of people on disk: one SQLite file a run, safe for several processes and for any kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

from paretune.errors import BusyError, RunError
from paretune.safety.files import sync_folder
from paretune.serving.answered import StoredAnswer

FILE = "users.sqlite"

_APPLICATION, _VERSION = 0x70617265, 1
"""What the header of the file says it is ("pare"), and how it is laid out."""

_TABLE = """
CREATE TABLE answers (
  user TEXT NOT NULL, number INTEGER NOT NULL, question TEXT NOT NULL, prompt TEXT NOT NULL,
  first TEXT NOT NULL, second TEXT NOT NULL,
  answer TEXT NOT NULL CHECK (answer IN ('first', 'second', 'same')), time REAL NOT NULL,
  seal TEXT NOT NULL, PRIMARY KEY (user, number), UNIQUE (user, question)
)
"""
# A rollback journal, which needs no second file beside the first; what is deleted is overwritten.
_SETTINGS = ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON")


class UsersDamagedError(RunError):
    """A file of users that cannot be read: damaged, of a newer version, or something else."""


@final
class Users:
    """The answers of every person that was asked about a run; a person is its answers.

    Nothing is kept open between calls. An answer is never changed: it is added, or all answers of
    a person are deleted, for good.

    Args:
        path: the file, made with the first answer, readable by its owner only.
        wait: seconds to wait for another process that writes.
    """

    def __init__(self, path: Path, wait: float = 10.0) -> None:
        self.path, self._wait = path, wait
        self._is_checked = False

    def counts(self) -> dict[str, int]:
        """Every person with the number of its answers, by name.

        Raises:
            BusyError: if another process writes for longer than the wait.
            UsersDamagedError: if the file is damaged, of a newer version, or no file of users.
            RunError: if the disk cannot be used.
        """
        with self._opened() as file:
            return dict(file.execute("SELECT user, count(*) FROM answers GROUP BY user ORDER BY 1"))

    def answers(self, user: str) -> tuple[StoredAnswer, ...]:
        """Of one person, in their order; none = nobody of that name. Raises as :meth:`counts`."""
        query = "SELECT * FROM answers WHERE user = ? ORDER BY number"
        with self._opened() as file:
            rows = file.execute(query, (user,)).fetchall()
        for *values, seal in rows:
            if seal != _seal(values):
                raise self._damaged(f"other content than was stored for {user}")
        return tuple(
            StoredAnswer.from_json({
                "question": row[2], "prompt": row[3], "first": json.loads(row[4]),
                "second": json.loads(row[5]), "answer": row[6], "time": row[7],
            })
            for row in rows
        )  # fmt: skip

    def add(self, user: str, number: int, answer: StoredAnswer) -> bool:
        """Store the answer of that number, from 1; it is on the disk when this returns.

        Returns:
            Whether it was stored: no, if the person has an answer of that number or to that
            question by now.

        Raises:
            RunError: as :meth:`counts`, and if the disk is full or the folder cannot be written.
        """
        row = answer.to_json()
        sides = [json.dumps(row[side]) for side in ("first", "second")]
        values = [user, number, answer.question, answer.prompt, *sides, answer.answer, answer.time]
        values.append(_seal(values))
        with self._opened(is_made=True) as file:
            try:
                file.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            except sqlite3.IntegrityError:
                return False
        return True

    def delete(self, user: str) -> int:
        """Overwrite and forget all answers of a person; how many. Raises as :meth:`counts`."""
        with self._opened() as file:
            return file.execute("DELETE FROM answers WHERE user = ?", (user,)).rowcount

    @contextlib.contextmanager
    def _opened(self, is_made: bool = False) -> Iterator[sqlite3.Connection]:
        """The file in one transaction; before it is made, an empty one in memory."""
        try:
            with contextlib.closing(self._connect(is_made)) as file:
                is_new = self._is_new(file)
                for setting in _SETTINGS:
                    file.execute(f"PRAGMA {setting}")
                # Readers of a file that is no table yet see an empty one, and change nothing.
                file.execute("BEGIN IMMEDIATE" if is_made else "BEGIN")
                if is_new and self._is_new(file):
                    self._lay_out(file)
                yield file
                file.execute("COMMIT" if is_made or not is_new else "ROLLBACK")
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _connect(self, is_made: bool) -> sqlite3.Connection:
        try:
            is_there = self.path.exists()
            if is_made and not is_there:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
                sync_folder(self.path.parent)
        except OSError as error:
            raise RunError(
                f"{self.path}: found {error.strerror}, expected a folder that can be written"
            ) from error
        place = str(self.path) if is_made or is_there else ":memory:"
        return sqlite3.connect(place, timeout=self._wait, isolation_level=None)

    def _is_new(self, file: sqlite3.Connection) -> bool:
        """Whether nothing was ever written.

        Raises:
            UsersDamagedError: if something was, and it is not ours or not whole.
        """
        ((kind,),) = file.execute("PRAGMA application_id")
        ((version,),) = file.execute("PRAGMA user_version")
        ((n_tables,),) = file.execute("SELECT count(*) FROM sqlite_master")
        if (kind, version, n_tables) == (0, 0, 0):
            return True
        if kind != _APPLICATION:
            raise self._damaged("a database of something else")
        if version != _VERSION:
            raise UsersDamagedError(
                f"{self.path}: found users of version {version}, expected {_VERSION}: a newer "
                "paretune wrote them; update this one"
            )
        if not self._is_checked:
            ((verdict,),) = file.execute("PRAGMA integrity_check(1)")
            if verdict != "ok":
                raise self._damaged(verdict)
            self._is_checked = True
        return False

    def _lay_out(self, file: sqlite3.Connection) -> None:
        file.execute(_TABLE)
        file.execute(f"PRAGMA application_id = {_APPLICATION}")
        file.execute(f"PRAGMA user_version = {_VERSION}")

    def _damaged(self, what: str) -> UsersDamagedError:
        return UsersDamagedError(
            f"{self.path}: found {what}, expected the users that paretune stored: damaged; it is "
            "left as it is: restore a copy, or move it away to begin anew"
        )

    def _told(self, error: sqlite3.Error) -> Exception:
        code: Any = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return BusyError(
                f"{self.path}: found another process writing for {self._wait:g} s, expected one "
                "at a time; try again"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(str(error))
        return RunError(f"{self.path}: found {error}, expected a disk with room that works")


def _seal(values: Sequence[Any]) -> str:
    """Hash of a row: SQLite finds a torn file, and no bit that flipped inside a text."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
