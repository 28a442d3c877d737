"""Secrets are found and hidden wherever they stand, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.safety.secrets import find_secrets, without_secrets

CANARY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "OPENAI_API_KEY", "my_secret", "DB_PASSWORD", "AwsCredentials"]
)
def test_what_a_variable_holds_whose_name_says_so(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = f"a{CANARY}b {CANARY}"
    assert without_secrets(text) == text
    monkeypatch.setenv(name, CANARY)
    assert without_secrets(text) == "a***b ***"
    (problem,) = find_secrets({"a": [0, {"b": text}]})
    assert problem[0] == ("a", 1, "b")
    assert name in problem[1] and CANARY not in problem[1]


def test_a_key_of_a_mapping_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    ((key, message),) = find_secrets({"a": {CANARY: {"b": CANARY}}})
    assert key == ("a",) and CANARY not in message


def test_the_longer_of_two_secrets_is_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", CANARY)
    monkeypatch.setenv("B_KEY", CANARY + "-and-more")
    assert without_secrets(f"x {CANARY}-and-more") == "x ***"


def test_short_values_other_variables_and_paths_are_no_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("LANGUAGE", "en_US.UTF-8")
    file = tmp_path / "key.json"
    file.touch()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    text = f"false en_US.UTF-8 {file}"
    assert without_secrets(text) == text
    assert not list(find_secrets({"a": text}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://me:{CANARY}@host/v1", "https://***@host/v1"),
        (f"GET s3://{CANARY}@bucket", "GET s3://***@bucket"),
        (f"https://host/v1?n=1&api_key={CANARY}&m=2", "https://host/v1?n=1&api_key=***&m=2"),
        (f"'https://host?access_token={CANARY}'", "'https://host?access_token=***'"),
        (f"https://host?X-Amz-Signature={CANARY}#a", "https://host?X-Amz-Signature=***#a"),
    ],
)
def test_addresses_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert CANARY not in str(list(find_secrets({"a": text}))) != "[]"


@pytest.mark.parametrize(
    "text",
    ["https://host/v1", "me@example.org", "what? key=1", "a://b/c@d", "objective=helpful?x=1"],
)
def test_other_text_stays(text: str) -> None:
    assert without_secrets(text) == text
    assert not list(find_secrets({"a": text}))


@given(st.text(), st.text(), st.integers(0, 3))
def test_no_text_around_it_saves_a_secret(before: str, after: str, depth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", CANARY)
        assert CANARY not in without_secrets(before + CANARY + after)
        values: object = before + CANARY + after
        for n in range(depth):
            values = [values] if n % 2 else {"k": values}
        assert list(find_secrets(values))
