"""Every threshold and every patience, with units; read from policy.toml.

Every key has a default, so an empty file, or none, is a policy. An unknown key is refused with the nearest known one:
a misspelt `unused_afer` must not silently leave the default in force.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import time, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nhi.errors import PolicyError
from nhi.identity import Identity

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
NEVER = timedelta.max


def parse_duration(text: object) -> timedelta:
    """Read `90d`, `4h`, `30m`, `2w` or `never`. Raises ValueError with the way out."""
    if isinstance(text, timedelta):
        return text
    if text == "never":
        return NEVER
    found = re.fullmatch(r"(\d{1,5})\s*([mhdw])", text) if isinstance(text, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(
            f'a duration is a whole number above 0 with a unit, like "90d", "4h", "30m" or "2w"; got {text!r}'
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def parse_hours(text: object) -> tuple[time, time]:
    """Read `09:00-17:00`. Raises ValueError with the way out."""
    if isinstance(text, tuple):
        return text
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text) if isinstance(text, str) else None
    try:
        if found is None:
            raise ValueError
        start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    except ValueError:
        raise ValueError(f'working hours look like "09:00-17:00"; got {text!r}') from None
    if start >= end:
        raise ValueError(f"working hours must start before they end; got {text!r}")
    return start, end


def parse_end(text: object) -> timedelta:
    """Read a duration that ends. Raises ValueError with the way out."""
    if text == "never":
        raise ValueError('"never" is no answer here: this must end; give a duration like "180d"')
    return parse_duration(text)


Patience = Annotated[timedelta, BeforeValidator(parse_duration)]
Duration = Annotated[timedelta, BeforeValidator(parse_end)]
Hours = Annotated[tuple[time, time], BeforeValidator(parse_hours)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Section):
    """What an exception applies to: every key given must fit. Names are globs, tags are exact."""

    provider: str | None = None
    account: str | None = None
    kind: str | None = None
    name: str | None = None
    tag: dict[str, str] = {}

    def fits(self, identity: Identity) -> bool:
        return (
            self.provider in (None, identity.provider)
            and self.account in (None, identity.account)
            and self.kind in (None, identity.kind)
            and (self.name is None or fnmatchcase(identity.name, self.name))
            and all(identity.tags.get(key) == value for key, value in self.tag.items())
        )


class RuleException(_Section):
    match: Match
    unused_after: Patience | None = None
    unrotated_after: Patience | None = None


class Rules(_Section):
    unused_after: Patience = timedelta(days=90)
    unrotated_after: Patience = timedelta(days=90)
    justification_at_most: Duration = timedelta(days=180)
    exceptions: tuple[RuleException, ...] = ()

    def unused_after_for(self, identity: Identity) -> timedelta:
        """Return the patience with an unused credential; the first exception that fits and names it wins."""
        return self._first(identity, "unused_after")

    def unrotated_after_for(self, identity: Identity) -> timedelta:
        """Return the greatest age of a secret; the first exception that fits and names it wins."""
        return self._first(identity, "unrotated_after")

    def _first(self, identity: Identity, name: str) -> timedelta:
        for exception in self.exceptions:
            value: timedelta | None = getattr(exception, name)
            if value is not None and exception.match.fits(identity):
                return value
        default: timedelta = getattr(self, name)
        return default


class Source(_Section):
    """One place to scan. Without any `[[sources]]`, the ambient AWS account is the one source."""

    provider: Literal["aws"] = "aws"
    role_arn: str | None = None  # assumed for reading; None: the ambient credentials read
    external_id: str | None = None
    remediator_role_arn: str | None = None  # assumed for acts; None: the reader's own credentials act
    endpoint: str | None = None  # a test endpoint; None: the provider's own, or AWS_ENDPOINT_URL
    calls_a_second: float = Field(default=100.0, gt=0)  # an upper limit; below it, the source's own throttling rules


class Owners(_Section):
    tags: tuple[str, ...] = ("owner", "Owner", "team-email")
    fallback: str | None = None  # the e-mail of whom to ask where no owner is known
    threshold: float = Field(default=0.6, gt=0, lt=1)  # below this confidence nobody counts as a likely owner


class People(_Section):
    admins: tuple[str, ...] = ()  # e-mails or Slack ids
    domains: tuple[str, ...] = ()  # the company's e-mail domains: `owner=ana` may then be ana@ one of them


class Conversation(_Section):
    shadow: bool = True
    working_hours: Hours = (time(9), time(17))
    remind_after: tuple[Duration, ...] = (timedelta(days=3), timedelta(days=4))
    escalate_to: tuple[str, ...] = ("manager", "#security")
    questions_a_week: int = Field(default=10, ge=1)


class Remediation(_Section):
    mode: Literal["propose", "reversible"] = "propose"
    actions_an_hour: int = Field(default=5, ge=1)


class Policy(_Section):
    """The whole of policy.toml."""

    rules: Rules = Rules()
    sources: tuple[Source, ...] = (Source(),)
    owners: Owners = Owners()
    people: People = People()
    conversation: Conversation = Conversation()
    remediation: Remediation = Remediation()


def load(path: Path) -> Policy:
    """Read a policy file; a file that is not there is the default policy. Raises PolicyError, one sentence."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors put a byte order mark first
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"{path} cannot be read ({error}); make it a readable UTF-8 text file, or set NHI_POLICY"
        ) from None
    try:
        return parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(
            f"{path} is not TOML: {error}. Mend that line; `nhi policy check` tells if it is well"
        ) from None
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any]) -> Policy:
    """Check a policy document. Raises PolicyError that names the key, and the nearest known one."""
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise PolicyError("; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            yield f"unknown key `{where}`" + (
                f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(known)}"
            )
        else:
            yield f"`{where}`: {problem['msg'].removeprefix('Value error, ')}"


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Policy
    for part in path:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), annotation)
        if get_origin(inner) is None and isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return sorted(model.model_fields)
