"""The places to scan, as policy.toml names them: `[[sources]]`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nhi.policy_activity import check_trail
from nhi.policy_words import RoleArn


class Section(BaseModel):
    """A part of policy.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_GOOGLE_SCOPE = re.compile(r"(organizations|folders)/\d{1,20}|projects/[a-z0-9][a-z0-9.:-]{0,62}")
_GOOGLE_ACCOUNT = re.compile(r"[^@\s/]{1,64}@[a-z0-9.-]{1,253}\.gserviceaccount\.com")
_OF_ONE_CLOUD = {
    "aws": (
        *("role_arn", "external_id", "remediator_role_arn", "organization"),
        *("role_name", "remediator_role_name", "regions", "access_analyzers", "resource_policies"),
    ),
    "gcp": ("scope", "impersonate", "remediator_impersonate", "recommender", "deny_policies"),
}


Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
Analyzer = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:access-analyzer:[a-z0-9-]+:\d{12}:analyzer/[A-Za-z0-9_.-]{1,255}$")
]
_ROLE_NAME = r"^[A-Za-z0-9+=,.@_/-]{1,128}$"


class Source(Section):
    """One place to scan. Without any `[[sources]]`, the ambient AWS account is the one source."""

    provider: Literal["aws", "gcp"] = "aws"
    role_arn: RoleArn | None = None  # assumed for reading; None: the ambient credentials read
    external_id: str | None = None
    remediator_role_arn: RoleArn | None = None  # assumed for acts; None: the reader's own credentials act
    organization: bool = False  # AWS: every account of the organisation, by the role of this name in each
    role_name: str | None = Field(default=None, pattern=_ROLE_NAME)
    remediator_role_name: str | None = Field(default=None, pattern=_ROLE_NAME)  # None: the reader's role acts
    regions: tuple[Region, ...] = ()  # AWS: where to look for secrets, Roles Anywhere, and what runs as which role
    resource_policies: bool = False  # AWS: read what buckets, and in the regions keys and queues, let identities do
    access_analyzers: tuple[Analyzer, ...] = ()  # AWS: analyzers of unused access, by ARN
    scope: str | None = None  # Google Cloud: organizations/1, folders/1 or projects/ID; None: the ambient project
    recommender: bool = False  # Google Cloud: ask what of their roles accounts use; one call a project
    deny_policies: bool = False  # Google Cloud: read what denies; one call an organisation, folder and project
    impersonate: str | None = None  # Google Cloud: the service account that reads; None: the ambient credentials
    remediator_impersonate: str | None = None  # Google Cloud: the service account that acts; None: the reader acts
    endpoint: str | None = None  # a test endpoint; None: the provider's own, or AWS_ENDPOINT_URL
    calls_a_second: float = Field(default=100.0, gt=0)  # an upper limit; below it, the source's own throttling rules
    trail_calls_a_second: float = Field(default=2.0, gt=0)  # of CloudTrail's LookupEvents, an account and region
    activity: str | None = None  # where its audit trail is read: nhi/policy_activity.py; None: LookupEvents, or logs

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
            strange = [key for key in keys if getattr(self, key)]
            if strange and other != self.provider:
                raise ValueError(
                    f'`{strange[0]}` is for provider = "{other}", and this source is of "{self.provider}":'
                    " take the key out, or set the provider"
                )
        if self.activity is not None:
            check_trail(self.provider, self.activity)
        return self

    @model_validator(mode="after")
    def _organization_has_one_role_name(self) -> Source:
        if self.organization and self.role_name is None:
            raise ValueError('an organisation needs `role_name`: the role that is in every account, like "nhi-reader"')
        named = self.role_name or self.remediator_role_name
        if named is not None and not self.organization:
            raise ValueError("`role_name` is for `organization = true`; for one account give its `role_arn`")
        if self.organization and self.remediator_role_arn is not None:
            raise ValueError("an organisation acts by `remediator_role_name`, the same in every account")
        return self
