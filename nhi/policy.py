"""Every threshold and every patience, with units; read from policy.toml.

Every key has a default, so an empty file, or none, is a policy. An unknown key is refused with the nearest known one:
a misspelt `unused_afer` must not silently leave the default in force.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nhi import anchors, working_days
from nhi.errors import PolicyError
from nhi.identity import Identity
from nhi.policy_activity import Activity
from nhi.policy_match import Match as Match
from nhi.policy_rotation import Rotation
from nhi.policy_sources import Section
from nhi.policy_sources import Source as Source
from nhi.policy_words import NEVER as NEVER
from nhi.policy_words import Duration, Hours, Mail, Moment, Network, Patience, Rung, Who, problem_in_words
from nhi.policy_words import parse_duration as parse_duration
from nhi.policy_words import parse_end as parse_end
from nhi.policy_words import parse_hours as parse_hours
from nhi.weights import DEFAULTS, Worth


class RuleException(Section):
    match: Match
    unused_after: Patience | None = None
    unrotated_after: Patience | None = None
    permissions_unused_after: Patience | None = None


class Rules(Section):
    unused_after: Patience = timedelta(days=90)
    unrotated_after: Patience = timedelta(days=90)
    permissions_unused_after: Patience = timedelta(days=90)  # of what it may do: no use of a service for this long
    justification_at_most: Duration = timedelta(days=180)
    exceptions: tuple[RuleException, ...] = ()

    def unused_after_for(self, identity: Identity) -> timedelta:
        """Return the patience with an unused credential; the first exception that fits and names it wins."""
        return self._first(identity, "unused_after")

    def unrotated_after_for(self, identity: Identity) -> timedelta:
        """Return the greatest age of a secret; the first exception that fits and names it wins."""
        return self._first(identity, "unrotated_after")

    def permissions_unused_after_for(self, identity: Identity) -> timedelta:
        """Return the patience with permissions nobody uses; the first exception that fits and names it wins."""
        return self._first(identity, "permissions_unused_after")

    def _first(self, identity: Identity, name: str) -> timedelta:
        for exception in self.exceptions:
            value: timedelta | None = getattr(exception, name)
            if value is not None and exception.match.fits(identity):
                return value
        default: timedelta = getattr(self, name)
        return default


_CHANGE_CALENDAR = r"^arn:aws[a-z-]*:ssm:[a-z0-9-]+:\d{12}:document/[A-Za-z0-9_.-]{3,128}$"


class SourceWeight(Section):
    """How much a source of evidence is worth here, in log-odds, and after what time a fact of it is worth half."""

    weight: float = Field(ge=-20, le=20)
    half_life: Patience | None = None  # None: as the default has it; "never": it does not fade


def _as_weight(told: object) -> object:
    return {"weight": told} if isinstance(told, int | float) else told


class Checkout(Section):
    """A local checkout of a repository that declares identities."""

    path: Path
    url: str | None = None  # a line's address: "https://git.example.com/infra/blob/main/{path}#L{line}"; None: no link

    @field_validator("url")
    @classmethod
    def _names_the_file(cls, url: str | None) -> str | None:
        if url is not None and "{path}" not in url:
            raise ValueError('an address holds "{path}", and may hold "{line}"')
        return url


class AccountOwner(Section):
    """Who answers for an account as a whole."""

    account: str
    email: str


class Owners(Section):
    tags: tuple[str, ...] = ("owner", "Owner", "team-email")
    fallback: Mail | None = None  # the e-mail of whom to ask where no owner is known
    threshold: float = Field(default=0.72, gt=0, lt=1)  # below this confidence nobody counts as a likely owner
    weights: dict[
        str, Annotated[SourceWeight, BeforeValidator(_as_weight)]
    ] = {}  # in place of the defaults of nhi/weights.py, by source
    checkouts: tuple[Checkout, ...] = ()
    accounts: tuple[AccountOwner, ...] = ()

    @field_validator("weights")
    @classmethod
    def _known_sources(cls, weights: dict[str, SourceWeight]) -> dict[str, SourceWeight]:
        for source in weights.keys() - DEFAULTS.keys():
            near = difflib.get_close_matches(source, DEFAULTS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(DEFAULTS))}"
            raise ValueError(f"unknown source `{source}`; {hint}")
        return weights

    @cached_property
    def worths(self) -> dict[str, Worth]:
        """The weight and half-life of each source in force: the defaults, and in their place what policy says."""
        return DEFAULTS | {source: _worth(DEFAULTS[source], told) for source, told in self.weights.items()}


def _worth(default: Worth, told: SourceWeight) -> Worth:
    if told.half_life is None:
        return Worth(told.weight, default.half_life)
    return Worth(told.weight, None if told.half_life == NEVER else told.half_life)


class PeopleTeam(Section):
    """A team that tags and people speak of, and that can be asked as a whole."""

    name: str
    channel: str | None = None  # "#payments"; None: it is never asked as a whole
    default: str | None = None  # the e-mail of who is asked where nobody of the team claims in time
    members: tuple[str, ...] = ()  # e-mails, besides those whose `team` a directory tells
    aliases: tuple[str, ...] = ()  # former names


class People(Section):
    admins: tuple[Who, ...] = ()  # e-mails or Slack ids
    domains: tuple[str, ...] = ()  # the company's e-mail domains: `owner=ana` may then be ana@ one of them
    teams: tuple[PeopleTeam, ...] = ()
    claim_within: Duration = timedelta(days=4)  # what a team has to claim; then its default person is asked
    leaver_notice: Duration = timedelta(days=14)  # before the last day, a leaver is asked to hand over
    office_networks: tuple[Network, ...] = ()  # where people work: what is used from there is used by a person
    scim_url: str | None = None  # where SCIM 2.0's `/Users` is; its token is NHI_SCIM_TOKEN


class Conversation(Section):
    shadow: bool = True
    working_hours: Hours = (time(9), time(17))
    remind_after: tuple[Duration, ...] = (timedelta(days=3), timedelta(days=4))
    escalate_to: tuple[Rung, ...] = ("manager", "#security")
    manager_after: Duration = timedelta(days=2)  # after the last reminder; other rungs: as long as before it
    questions_a_week: int = Field(default=10, ge=1)
    # A time zone, or a glob of them -> a country, or its part: "DE", "DE-BY"; or "none". The first that fits; else the
    # country that the zone lies in.
    holidays: dict[str, str] = {}
    language: str = Field(default="en", pattern=r"^[a-z]{2}(-[A-Z]{2})?$")  # a folder of templates/

    @field_validator("holidays")
    @classmethod
    def _are_known(cls, value: dict[str, str]) -> dict[str, str]:
        for place in value.values():
            working_days.check_place(place)
        return value


class Freeze(Section):
    """A window in which nothing is turned off: from an instant (or the beginning of a day, in UTC) until another."""

    name: str = Field(min_length=1, max_length=80)
    begins: Moment
    ends: Moment

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Freeze:
        if self.ends <= self.begins:
            raise ValueError(f"the freeze {self.name!r} must end after it begins")
        return self


class ScreamTest(Section):
    """Off for a while, listening, and on again by itself, before anything is turned off for good."""

    when: Literal["never", "offered", "always"] = "offered"  # offered: the person who disables may choose it
    ladder: tuple[Duration, ...] = (timedelta(minutes=15), timedelta(hours=1), timedelta(days=1))

    @field_validator("ladder")
    @classmethod
    def _is_a_ladder(cls, ladder: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if not ladder or any(step > timedelta(days=7) for step in ladder):
            raise ValueError('a ladder has at least one step, each of at most a week, like ["15m", "1h", "1d"]')
        return ladder


class Remediation(Section):
    mode: Literal["propose", "reversible"] = "propose"
    actions_an_hour: int = Field(default=5, ge=1)
    share_of_account: float = Field(default=0.1, gt=0, le=1)  # of its live credentials, in 24 hours; 3 are always let
    freezes: tuple[Freeze, ...] = ()
    freeze_calendars: tuple[Path, ...] = ()  # iCalendar files: each of their events is a freeze
    change_calendar: str | None = Field(default=None, pattern=_CHANGE_CALENDAR)  # the ARN of an AWS Change Calendar
    never_touch: tuple[str, ...] = ()  # globs of ARNs, names and credential ids that are never turned off
    break_glass: tuple[str, ...] = ()  # the same, of what is kept for emergencies
    second_person: Literal["never", "privileged", "always"] = "privileged"
    second_person_for: tuple[Match, ...] = ()  # what takes a second person besides: what much depends on
    second_person_within: Duration = timedelta(days=7)  # else it is not done; half of it later they are asked once more
    step_up: Literal["never", "privileged", "always"] = "never"  # a code of an authenticator with the answer
    scream_test: ScreamTest = ScreamTest()
    announce_to: str | None = None  # the admins' channel; None: the first channel of conversation.escalate_to


class Ledger(Section):
    """The name of the ledger, and where its signed checkpoints are kept beside the database."""

    origin: str = Field(default="nhi-ledger", pattern=r"^[^\s+]{1,200}$")
    former_keys: tuple[str, ...] = ()  # NAME+ID+KEY of keys that signed before, so that their checkpoints still count
    anchors: tuple[str, ...] = ()
    anchor_every: Duration = timedelta(days=1)  # a review's close, an export and `nhi ledger checkpoint` anchor at once
    keep_for: Duration = timedelta(days=400)  # in a bucket that has Object Lock, and no retention of its own
    mail_from: str = "nhi@localhost"
    tsa_roots: Path | None = None  # PEM of the authorities' roots; None: a time stamp's own signature is not checked

    @field_validator("anchors")
    @classmethod
    def _are_places(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            anchors.parse(target)
        return targets


class CarryOver(Section):
    """How long a "still needed" stands in later reviews while nothing changes. High risk is asked each quarter."""

    low: Duration = timedelta(days=360)
    medium: Duration = timedelta(days=180)


class Review(Section):
    automatic: bool = True  # opens by itself once a quarter; else by `nhi review open`
    fresh_within: Duration = timedelta(hours=36)  # each source was seen whole so lately, else no review opens
    due_after: Duration = timedelta(days=21)
    carry_over: CarryOver = CarryOver()
    channel: str | None = None  # where the burn-down is shown; None: the first channel of conversation.escalate_to
    signers: tuple[str, ...] = ()  # e-mails of who may sign in Slack; none: the admins


class Environment(Section):
    """Where an environment is: accounts (or projects) and names, both globs. The first that fits wins."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    accounts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Permissions(Section):
    """How closely to look at what is used of permissions. Each look costs two calls or more."""

    last_accessed: bool = True  # ask when services were last used, of those who can do harm
    lookups_a_scan: int = Field(default=20, ge=0)  # identities
    again_after: Duration = timedelta(days=7)


class Policy(Section):
    """The whole of policy.toml."""

    rules: Rules = Rules()
    sources: tuple[Source, ...] = (Source(),)
    owners: Owners = Owners()
    people: People = People()
    conversation: Conversation = Conversation()
    remediation: Remediation = Remediation()
    rotation: Rotation = Rotation()
    ledger: Ledger = Ledger()
    review: Review = Review()
    permissions: Permissions = Permissions()
    environments: tuple[Environment, ...] = ()
    activity: Activity = Activity()


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
            yield f"`{where}`: {problem_in_words(problem)}"


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Policy
    for part in path:
        if isinstance(part, int) or part not in model.model_fields:  # a place in a list, or a key of one's own choice
            continue
        annotation = model.model_fields[part].annotation
        inner = next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), annotation)
        if get_origin(inner) is None and isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return sorted(model.model_fields)
