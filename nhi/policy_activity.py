"""The part of policy.toml about activity: what is read, how long it is kept, and when it is asked about. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nhi.policy_words import Duration

LOOKUP, LOGS, OFF = "lookup", "logs", "off"
_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([^\s]*))?")
_FOLDER = re.compile(r"file:(/\S*)")
_LAKE = re.compile(r"arn:aws[a-z-]*:cloudtrail:[a-z0-9-]+:\d{12}:eventdatastore/[A-Za-z0-9-]{3,128}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


class Activity(BaseModel):
    """How closely is watched what identities do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read_every: Duration = timedelta(minutes=15)
    history: Duration = timedelta(days=30)  # how far back the first reading goes, as the source allows
    lookups_an_hour: int = Field(default=600, ge=0, le=7200)  # LookupEvents, an account and region; pages of Google's
    regions: tuple[str, ...] = ()  # whose CloudTrail is asked besides the one that IAM and STS write to
    countries: Path | None = None  # a MaxMind DB file (country or city); None: no countries are told
    days_kept: Duration = timedelta(days=60)  # day by day; after that, week by week
    kept_for: Duration = timedelta(days=400)
    learn_for: Duration = timedelta(days=14)  # an identity with a shorter history raises no alarm
    sensitivity: Literal["low", "normal", "high"] = "normal"
    alarms_a_day: int = Field(default=10, ge=1)  # to all people together; what is critical is always asked
    answer_within: Duration = timedelta(hours=4)  # then the next rung of conversation.escalate_to is told
    ours_at_most: Duration = timedelta(days=180)  # how long a "That was us" may hold
    on_not_us: Literal["quarantine", "tell"] = "quarantine"  # what "Not us" plans, by remediation.mode

    @field_validator("regions")
    @classmethod
    def _are_regions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for region in value:
            if not _REGION.fullmatch(region):
                raise ValueError(f'a region looks like "eu-west-1"; got {region!r}')
        return value


def check_trail(provider: str, value: str) -> None:
    """Raise ValueError where a source's `activity` names no trail that this provider has."""
    if provider == "gcp":
        if value not in (LOGS, OFF):
            raise ValueError(f'the activity of a gcp source is "logs" or "off"; got {value!r}')
    elif value not in (LOOKUP, OFF) and not (bucket_of(value) or folder_of(value) or _LAKE.fullmatch(value)):
        raise ValueError(
            'the activity of an aws source is "lookup", "s3://BUCKET/PREFIX", the ARN of an event data store,'
            f' "file:/FOLDER" or "off"; got {value!r}'
        )


def bucket_of(value: str) -> tuple[str, str] | None:
    """Return bucket and prefix; None: it is no bucket."""
    found = _BUCKET.fullmatch(value)
    return (found[1], (found[2] or "").strip("/")) if found else None


def store_of(value: str) -> str | None:
    """Return the name of the place of log files, as positions in it begin; None: it is no bucket and no folder."""
    if (bucket := bucket_of(value)) is not None:
        return "s3://" + "/".join(filter(None, bucket))
    return f"file:{folder}" if (folder := folder_of(value)) is not None else None


def folder_of(value: str) -> Path | None:
    """Return the folder; None: it is none."""
    found = _FOLDER.fullmatch(value)
    return Path(found[1]) if found else None
