"""The places to scan, as policy.toml names them: `[[sources]]`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nhi.policy_words import RoleArn


class Section(BaseModel):
    """A part of policy.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_GOOGLE_SCOPE = re.compile(r"(organizations|folders)/\d{1,20}|projects/[a-z0-9][a-z0-9.:-]{0,62}")
_GOOGLE_ACCOUNT = re.compile(r"[^@\s/]{1,64}@[a-z0-9.-]{1,253}\.gserviceaccount\.com")
_OF_ONE_CLOUD = {
    "aws": ("role_arn", "external_id", "remediator_role_arn"),
    "gcp": ("scope", "impersonate", "remediator_impersonate"),
}


class Source(Section):
    """One place to scan. Without any `[[sources]]`, the ambient AWS account is the one source."""

    provider: Literal["aws", "gcp"] = "aws"
    role_arn: RoleArn | None = None  # assumed for reading; None: the ambient credentials read
    external_id: str | None = None
    remediator_role_arn: RoleArn | None = None  # assumed for acts; None: the reader's own credentials act
    scope: str | None = None  # Google Cloud: organizations/1, folders/1 or projects/ID; None: the ambient project
    impersonate: str | None = None  # Google Cloud: the service account that reads; None: the ambient credentials
    remediator_impersonate: str | None = None  # Google Cloud: the service account that acts; None: the reader acts
    endpoint: str | None = None  # a test endpoint; None: the provider's own, or AWS_ENDPOINT_URL
    calls_a_second: float = Field(default=100.0, gt=0)  # an upper limit; below it, the source's own throttling rules
    trail_calls_a_second: float = Field(default=2.0, gt=0)  # of CloudTrail's LookupEvents, an account and region

    @field_validator("scope")
    @classmethod
    def _scope_is_a_place(cls, value: str | None) -> str | None:
        if value is not None and not _GOOGLE_SCOPE.fullmatch(value):
            raise ValueError(f'a scope is "organizations/123", "folders/123" or "projects/my-project"; got {value!r}')
        return value

    @field_validator("impersonate", "remediator_impersonate")
    @classmethod
    def _impersonated_is_an_account(cls, value: str | None) -> str | None:
        if value is not None and not _GOOGLE_ACCOUNT.fullmatch(value):
            raise ValueError(f"a service account's e-mail ends with gserviceaccount.com; got {value!r}")
        return value

    @model_validator(mode="after")
    def _keys_are_of_one_cloud(self) -> Source:
        for other, keys in _OF_ONE_CLOUD.items():
            strange = [key for key in keys if getattr(self, key) is not None]
            if strange and other != self.provider:
                raise ValueError(
                    f'`{strange[0]}` is for provider = "{other}", and this source is of "{self.provider}":'
                    " take the key out, or set the provider"
                )
        return self
