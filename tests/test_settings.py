"""Settings: what is read from where, and one sentence that names what is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nhi.errors import SettingsError
from nhi.settings import Settings, read


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any of our settings, in an empty folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_nothing_needs_to_be_set_to_start() -> None:
    settings = read()

    assert settings.database_url == "sqlite:///nhi.db"
    assert settings.nhi_policy == Path("policy.toml")
    assert settings.slack_api_url == "https://slack.com/api/"
    assert settings.port == 3000
    assert not settings.socket_mode


def test_an_app_token_means_socket_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")

    assert read().socket_mode


def test_an_empty_value_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "")
    monkeypatch.setenv("PORT", "")

    assert not read().socket_mode
    assert read().port == 3000


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=4000\nDATABASE_URL=sqlite:///file.db\nUNRELATED=1\n")
    monkeypatch.setenv("PORT", "5000")

    assert (read().port, read().database_url) == (5000, "sqlite:///file.db")


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1"])
def test_a_wrong_value_is_one_sentence_that_names_the_setting_and_where_to_set_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PORT", value)

    with pytest.raises(SettingsError, match=r"^PORT: .*; set it in the environment or in \.env$"):
        read()


@pytest.mark.parametrize("value", ["nonsense", "slack.com/api/", "ftp://slack.com", "https://", "http://["])
def test_where_slack_is_must_be_an_address(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SLACK_API_URL", value)

    with pytest.raises(SettingsError, match=r"^SLACK_API_URL: .*; set it in the environment or in \.env$"):
        read()


def test_an_env_file_that_is_no_text_is_one_sentence_that_names_it() -> None:
    Path(".env").write_bytes(b"PORT=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"^\.env "):
        read()


@pytest.mark.parametrize(
    ("name", "method", "prefix"),
    [
        ("SLACK_BOT_TOKEN", "bot_token", "xoxb-"),
        ("SLACK_APP_TOKEN", "app_token", "xapp-"),
        ("SLACK_SIGNING_SECRET", "signing_secret", ""),
    ],
)
def test_a_token_that_is_missing_or_another_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, method: str, prefix: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set: .*environment or .env"):
        getattr(read(), method)()

    monkeypatch.setenv(name, "   ")
    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        getattr(read(), method)()

    monkeypatch.setenv(name, f" {prefix}1-a ")
    assert getattr(read(), method)() == f"{prefix}1-a"


def test_a_token_pasted_into_the_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xapp-1-pasted")

    with pytest.raises(SettingsError, match=r"^SLACK_BOT_TOKEN should start with `xoxb-`") as refused:
        read().bot_token()

    assert "pasted-" not in str(refused.value)
    assert "xapp-1" not in str(refused.value)


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "NHI_SIGNING_KEY"):
        monkeypatch.setenv(name, "hush-hush")

    assert "hush" not in repr(read())
    assert "hush" not in str(read().model_dump())


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().port = 1  # type: ignore[misc]
