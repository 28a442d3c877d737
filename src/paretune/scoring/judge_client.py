"""One question to an OpenAI-compatible server: a request, and its answer or why there is none.

The key of the server is read from an environment variable, sent in one header to one host, and
appears in no message: what a server says about it is left out, redirects are not followed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import math
import os
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from paretune import __version__
from paretune.errors import ConfigError

PATH = "/chat/completions"
LARGEST_ANSWER = 1 << 20
"""Bytes; a judge that says more is not read to the end."""

_SHOWN, _READ = 160, 4096
"""Characters shown, and bytes read, of what a server says beside an answer."""
_BUSY = (408, 425, 429)


@final
class NoAnswer(Exception):
    """A request without a usable answer.

    Args:
        reason: what was found, short and equal for equal causes, without any secret.
        is_down: True when the server did not answer, or refuses everybody: asking something else
            will not help. False when it answered and this answer is of no use.
        may_pass: True when the same request may succeed later.
        wait: seconds that the server asks to wait, >= 0.
        detail: what the server said, one line.
    """

    def __init__(
        self, reason: str, *, is_down: bool, may_pass: bool, wait: float = 0.0, detail: str = ""
    ) -> None:
        self.reason, self.is_down, self.may_pass = reason, is_down, may_pass
        self.wait, self.detail = wait, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


@final
class Endpoint:
    """Where questions go.

    Args:
        base_url: ``http(s)://host[:port]/path`` before ``/chat/completions``.
        key: secret of the server; ``None`` sends none.
        key_env: the variable that it came from, for messages.
        timeout: seconds for a request from its start to the last byte of the answer, > 0.

    Raises:
        ConfigError: if the address is none, or holds something that may be a secret.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        key_env: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        if problem := url_problem(base_url):
            raise ConfigError(f"base_url: {problem}")
        self.url = base_url.rstrip("/") + PATH
        self._key, self._key_env, self._timeout = key, key_env, timeout
        # A proxy cannot reach this machine's own servers.
        proxies = [ProxyHandler({})] if _is_here(urlsplit(base_url).hostname or "") else []
        self._opener = build_opener(_NoRedirect, *proxies)

    @classmethod
    def from_environment(
        cls, base_url: str, key_env: str | None, timeout: float = 60.0
    ) -> Endpoint:
        """An endpoint whose key is in the environment variable ``key_env``, if that is given.

        Raises:
            ConfigError: if the variable is missing, empty, or holds what no header can; its
                content is not shown.
        """
        if key_env is None:
            return cls(base_url, timeout=timeout)
        key = os.environ.get(key_env, "").strip()
        if not key:
            raise ConfigError(
                f"key_env: found nothing in the environment variable {key_env}, expected the key "
                f"of {urlsplit(base_url).hostname}"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                f"key_env: found spaces, control characters or accents in the environment "
                f"variable {key_env}, expected a key of printable ASCII characters"
            )
        return cls(base_url, key, key_env=key_env, timeout=timeout)

    def ask(self, body: bytes) -> str:
        """The text of the answer to one request.

        Raises:
            NoAnswer: whatever goes wrong.
        """
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"paretune/{__version__}",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self.url, body, headers, method="POST")
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return self._content(_read(response, deadline))
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise _unreachable(error, self._timeout) from None

    def _refused(self, error: HTTPError) -> NoAnswer:
        """What an answer with another status than 200 means."""
        status, headers = error.code, error.headers
        if 300 <= status < 400:
            target = _shown_place(headers.get("Location", ""))
            detail = f"to {target}, which is not followed; give the address that answers"
            return NoAnswer(
                f"HTTP {status}, a redirect", is_down=True, may_pass=False, detail=detail
            )
        if status in (401, 403):
            # What the server says here may repeat the key.
            held = f"the key in {self._key_env}" if self._key_env else "a request without a key"
            return NoAnswer(
                f"HTTP {status}", is_down=True, may_pass=False, detail=f"it refuses {held}"
            )
        return NoAnswer(
            f"HTTP {status}",
            is_down=status in (404, 405) or status >= 500 or status in _BUSY,
            may_pass=status >= 500 or status in _BUSY,
            wait=_seconds(headers.get("Retry-After", "")),
            detail=self._said(error),
        )

    def _said(self, error: HTTPError) -> str:
        """The server's own words."""
        try:
            text = error.read(_READ).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return ""
        with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
            text = str(json.loads(text)["error"]["message"])
        return self._without_key(text)

    def _content(self, body: bytes) -> str:
        """The text inside a chat completion."""
        try:
            content = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, RecursionError, TypeError, KeyError, IndexError):
            content = None
        if isinstance(content, str):
            return content
        said = self._without_key(body[:_READ].decode("utf-8", "replace"))
        raise NoAnswer("no chat completion", is_down=False, may_pass=True, detail=said)

    def _without_key(self, text: str) -> str:
        """One line of what the server said: it may have repeated the key."""
        if self._key:
            # As it is, and as JSON may write it.
            written = json.dumps(self._key)[1:-1]
            for form in (self._key, written, written.replace("/", "\\/")):
                text = text.replace(form, "***")
        return _one_line(text)


def url_problem(base_url: str) -> str | None:
    """Why an address cannot be used, without repeating what may be a secret; ``None`` if it can.

    Example:
        >>> url_problem("http://localhost:8000/v1") is None
        True
        >>> url_problem("https://me:secret@host/v1")
        'found a user name or password in the address, expected the key in the variable key_env'
    """
    expected = "expected http://host:port/path or https://host/path"
    if not base_url.isprintable() or " " in base_url:
        return f"found spaces or control characters, {expected}"
    try:
        parts = urlsplit(base_url)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        return f"found an address that cannot be read, {expected}"
    if "@" in base_url:
        return (
            "found a user name or password in the address, expected the key in the variable key_env"
        )
    if parts.query or parts.fragment:
        return "found '?' or '#' in the address, expected the key in the variable key_env"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"found {base_url!r}, {expected}"
    if parts.path.rstrip("/").endswith(PATH):
        return f"found {base_url!r}, expected the part before {PATH}"
    return None


def _unreachable(error: Exception, timeout: float) -> NoAnswer:
    cause: Any = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        reason = f"no answer within {timeout:g} s"
    elif isinstance(cause, ConnectionRefusedError):
        reason = "connection refused"
    elif isinstance(cause, ConnectionError | http.client.HTTPException):
        reason = "connection closed before the answer ended"
    else:
        reason = f"no connection: {_one_line(str(cause))}"
    return NoAnswer(reason, is_down=True, may_pass=True)


class _NoRedirect(HTTPRedirectHandler):
    """Redirects are answers like any other: the key goes to the host that was named."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _read(response: Any, deadline: float) -> bytes:
    """The body, up to a size and a moment: a slow or endless answer holds nobody."""
    chunks, size = [], 0
    while chunk := response.read1(1 << 16):
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise NoAnswer(f"an answer over {LARGEST_ANSWER} bytes", is_down=False, may_pass=False)
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(chunks)


def _seconds(text: str) -> float:
    """``Retry-After``: a number of seconds or a date; 0 where it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _shown_place(location: str) -> str:
    """Host and path of a redirect, without what may be a secret."""
    try:
        parts = urlsplit(location)
        host = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    except ValueError:
        return "an address that cannot be read"
    return _one_line(f"{host}{parts.path}") or "nowhere"


def _is_here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _one_line(text: str) -> str:
    """Text of a stranger: no control characters, not long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def environment_name_problem(name: str) -> str | None:
    """Why a text is no name of an environment variable; it is not repeated: it may be a key."""
    if name.isascii() and name.isidentifier():
        return None
    return "found no name of an environment variable, expected one such as OPENAI_API_KEY"
