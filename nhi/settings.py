"""Settings: one frozen object, read from the environment (and `.env`) once, at the edge, and passed down."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nhi.errors import SettingsError


class Settings(BaseSettings):
    """What interface.md lists. An empty value counts as not set."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: str = "sqlite:///nhi.db"
    slack_bot_token: SecretStr | None = None
    slack_app_token: SecretStr | None = None
    slack_signing_secret: SecretStr | None = None
    slack_api_url: str = "https://slack.com/api/"
    nhi_policy: Path = Path("policy.toml")
    nhi_signing_key: SecretStr | None = None
    nhi_step_up_key: SecretStr | None = None
    nhi_oidc_issuer: str | None = None
    nhi_oidc_client_id: str | None = None
    nhi_oidc_client_secret: SecretStr | None = None
    nhi_public_url: str | None = None
    nhi_smtp_url: SecretStr | None = None
    nhi_scim_token: SecretStr | None = None
    port: int = Field(default=3000, ge=1, le=65535)

    @field_validator("slack_api_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address looks like https://slack.com/api/")
        return value

    @property
    def socket_mode(self) -> bool:
        """Whether Slack is reached by a socket (an app token is set) rather than by HTTP."""
        return self.slack_app_token is not None

    def bot_token(self) -> str:
        """Return the bot token. Raises SettingsError, one sentence, when it is not set or not one."""
        return _secret(self.slack_bot_token, "SLACK_BOT_TOKEN", "xoxb-")

    def app_token(self) -> str:
        """Return the app token. Raises SettingsError when it is not set or not one."""
        return _secret(self.slack_app_token, "SLACK_APP_TOKEN", "xapp-")

    def signing_secret(self) -> str:
        """Return the signing secret. Raises SettingsError when it is not set."""
        return _secret(self.slack_signing_secret, "SLACK_SIGNING_SECRET", "")


def _secret(value: SecretStr | None, name: str, prefix: str) -> str:
    text = value.get_secret_value().strip() if value else ""
    if not text:
        raise SettingsError(
            f"{name} is not set: copy it from your Slack app's page into the environment or .env"
            " (`nhi slack manifest` makes the app)"
        )
    if not text.startswith(prefix):
        raise SettingsError(f"{name} should start with `{prefix}`: another token seems to have been pasted there")
    return text


def read() -> Settings:
    """Read the environment. Raises SettingsError that names the setting."""
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]).upper()
        words = problem["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {words}; set it in the environment or in .env") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f".env cannot be read ({error}); make it a readable UTF-8 text file, or remove it"
        ) from None
