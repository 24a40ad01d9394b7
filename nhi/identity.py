"""The nouns: frozen values that providers yield and pure functions read.

Words are the glossary's. Times are aware and in UTC; a `None` says in its comment what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nhi.seasons import Pause

DELEGATED = "gcp:domain-wide-delegation"  # the tag of an account that acts for people of Google Workspace


class Custody(StrEnum):
    """Who holds the secret. Only ours can be unrotated."""

    OURS = "ours"
    PLATFORM = "platform"
    NOBODY = "nobody"


class CredentialStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"


class Aspect(StrEnum):
    """What a gap hides of the things inside its scope."""

    EXISTENCE = "existence"  # nothing inside may be called gone
    CREDENTIALS = "credentials"  # its credentials may be more, or other, than what is known
    USE = "use"  # nothing inside may be called unused
    OWNER = "owner"  # evidence of its owner may be missing
    PERMISSIONS = "permissions"  # what it may do is more, or other, than what is known
    CEILINGS = "ceilings"  # what stands above it is not known: it may do less than what is known
    ACTIVITY = "activity"  # what it did may not all be known: a question about it says so


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A place that a scan could not see, and why.

    `scope` is a path, the widest place first: `aws/123456789012`, `aws/123456789012/user`,
    `aws/123456789012/user/ci-deploy`. A gap covers everything below its scope.
    `reason` is one short phrase with the provider's own code in it (`AccessDenied: iam:ListAccessKeys`).
    """

    scope: str
    reason: str
    hides: frozenset[Aspect]

    def covers(self, scope: str, aspect: Aspect) -> bool:
        """Whether the gap hides this aspect of what lies at `scope`."""
        return aspect in self.hides and (scope == self.scope or scope.startswith(self.scope + "/"))


@dataclass(frozen=True, kw_only=True)
class Need:
    """One permission that this program needs of a cloud, and what for."""

    action: str  # the provider's own name: "iam:ListAccessKeys"
    why: str
    writes: bool = False


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What the sources of a use fact can see. A finding never claims more than this.

    `says` is one or two sentences for people: what is seen, what is not, and how late.
    """

    says: str
    seen_from: datetime | None = None  # earlier use is not remembered; None: seen since creation
    seen_until: datetime | None = None  # later use is not seen yet; None: seen up to the scan


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What proves an identity. Never the secret.

    `key` is stable for the credential's life, whether or not its public id is known: for an AWS access key
    `access_key/2026-01-31T09:00:00Z` (its creation; with `/1` and `/2` where a user's two keys were made in the same
    second), for a password `password`.
    """

    key: str
    kind: str  # access_key, console_password, service_specific_credential, ...
    external_id: (
        str | None
    )  # the provider's public id ("AKIA..."); None: the provider has none, or it was not needed yet
    status: CredentialStatus
    custody: Custody
    created_at: datetime | None  # None: the provider does not tell
    rotated_at: datetime | None  # when the secret last changed; None: the provider does not tell
    last_used_at: datetime | None  # None: never used since creation, or since the provider keeps track
    last_used_service: str | None = None  # "s3"; None: not told
    last_used_region: str | None = None  # "eu-west-1"; None: not told
    use_gap: str | None = None  # why its use could not be seen; None: it was seen
    coverage: Coverage = Coverage(says="")
    pauses: tuple[Pause, ...] = ()  # spells without use that ended with one, as our own scans witnessed them


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """One statement of what an identity may do, or may not: the same shape for all clouds.

    A statement of an AWS policy, or one role given on one resource of Google Cloud. Actions and resources are globs
    (`s3:Get*`, `arn:aws:s3:::reports/*`); in Google Cloud an action is a role (`roles/storage.admin`), and what it is
    given on passes it down to everything below. `but_...` means everything except these; the other one is then empty.
    """

    allows: bool  # False: it denies, whatever else allows
    actions: tuple[str, ...] = ()
    but_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    but_resources: tuple[str, ...] = ()
    condition: str = ""  # in the cloud's own words, JSON or CEL; "": always
    via: str = ""  # where it comes from: "inline deploy", "group ops, ReadOnlyAccess", "folders/123"


class TrustKind(StrEnum):
    """What kind of thing may become an identity."""

    SERVICE = "service"  # of the platform: it runs code as this identity
    IDENTITY = "identity"  # a user or role, or an account of this cloud
    FEDERATED = "federated"  # somebody whom another identity provider vouches for
    ANYONE = "anyone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """One who may assume, impersonate or run as an identity. `outside`: not of the same account or project."""

    who: str  # "lambda.amazonaws.com", "arn:aws:iam::444455556666:root", "group:ops@example.com"
    kind: TrustKind
    outside: bool
    condition: str = ""  # in the cloud's own words; "": always
    via: str = ""  # "roles/iam.serviceAccountTokenCreator on projects/shop"; "": the identity's own trust policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What an identity may do, and who may become it. `None` in its place: nobody told.

    Where something comes from (`via`, `unread`) is a notation and no prose: two sets are told apart by it as well, so
    it is the same in every language.
    """

    permissions: tuple[Permission, ...] = ()
    boundary: tuple[Permission, ...] | None = None  # what it may do at most, whatever else allows; None: there is none
    trust: tuple[Trust, ...] = ()
    unread: tuple[str, ...] = ()  # policies and roles whose words could not be read: it may be able to do more
    # What resources give or deny it by policies of their own: none of its own policies has that. None: nobody looked.
    by_resources: tuple[Permission, ...] | None = None
    unread_resources: tuple[str, ...] = ()  # globs of where more of that would come from; not read back either
    bounds_given: bool = False  # the boundary limits that too: it does so for AWS's roles, and not for its users
    # What stands above it in its organisation, each at most what it says, as a boundary. None: nobody told.
    ceilings: tuple[tuple[Permission, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exercise:
    """What of its permissions an identity was seen to use.

    A service is named as its actions begin (`s3`); in Google Cloud a role on a resource stands in its place
    (`roles/editor on projects/shop`). One that is not in `services` is not known to be reachable.
    """

    services: Mapping[str, datetime | None]  # the last attempt to reach it; None: none in the time that is tracked
    actions: Mapping[str, datetime | None]  # the same of single actions, only where the cloud tracks them
    seen_from: datetime
    seen_until: datetime
    source: str  # "iam:GetServiceLastAccessedDetails"
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what would do in place of a role


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Something that authenticates and is not a person.

    `key` is the provider's own unique id, never reused (`AIDA...`, not the name).
    """

    provider: str  # "aws"
    kind: str  # iam_user, iam_role
    account: str  # "123456789012"
    key: str
    name: str
    principal: str  # the provider's own string: the ARN
    custody: Custody
    created_at: datetime | None  # None: the provider does not tell
    last_used_at: (
        datetime | None
    )  # of the identity itself (a role assumed); None: never, or it has credentials that tell
    use_gap: str | None = None  # why its own use could not be seen; None: it was seen
    tags: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = ()
    privileged: bool = False  # can administer the account (an admin-like policy is attached)
    service_linked: bool = False  # made and used by the platform: nobody here can rotate or own it
    coverage: Coverage = Coverage(says="")
    policies: tuple[str, ...] = ()  # names of attached and inline policies, for people to read
    access: Access | None = None  # None: the provider did not tell, or it was not read back from the database
    exercise: Exercise | None = None  # None: nobody asked, or it could not be seen

    @property
    def scope(self) -> str:
        """The identity's place, as gaps name places: `aws/123456789012/user/ci-deploy`."""
        return scope_of(self.provider, self.account, self.kind, self.name)


def scope_of(provider: str, account: str, kind: str | None = None, name: str | None = None) -> str:
    """Return the path that gaps use for an account, for all of one kind in it, or for one identity."""
    parts = [provider, account]
    if kind is not None:
        parts.append(kind)
    if name is not None:
        parts.append(name)
    return "/".join(parts)


def hiding_credentials(gaps: Iterable[Gap], identity: Identity, kind: str) -> Gap | None:
    """Return a gap that may hide credentials of this kind of the identity; None: they were all seen.

    Such a gap lies over the identity, or over all credentials of one kind in its account
    (`aws/123456789012/service_specific_credential`).
    """
    places = (identity.scope, scope_of(identity.provider, identity.account, kind))
    return next((gap for gap in gaps if any(gap.covers(place, Aspect.CREDENTIALS) for place in places)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One fact that speaks for somebody as the owner of an identity.

    `points_to` is what the source literally names: an e-mail address, a login, a Slack id. Whether that is a
    person here is decided later, against the directory.
    """

    source: str  # tag, creator, attestation, ...
    fact: str  # "owner=ana@example.com", "CreateAccessKey by ana@example.com"
    points_to: str
    at: datetime | None  # when it was true; None: the source carries no time (a tag)
    identity_key: str
    url: str | None = None  # where it can be looked up; None: nowhere, or not told


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody in the organisation's directory."""

    email: str
    slack_id: str
    name: str
    tz: str  # IANA name
    active: bool  # False: deactivated
    guest: bool = False
    bot: bool = False
    stranger: bool = False  # of another workspace
    handle: str = ""  # Slack's short name: "ana"
    aliases: tuple[str, ...] = ()  # other addresses and logins of this person, as the company's list tells
    manager: str | None = None  # the e-mail of their manager, last known; None: not told

    @property
    def may_own(self) -> bool:
        """Whether this person can be asked and can answer for an identity."""
        return self.active and not (self.guest or self.bot or self.stranger)


@dataclass(frozen=True, kw_only=True)
class Team:
    """A group of people that tags, names and CODEOWNERS speak of."""

    name: str  # "payments"
    aliases: tuple[str, ...] = ()  # former and other names, its address, its CODEOWNERS handle
    members: tuple[str, ...] = ()  # e-mails
    default: str | None = None  # the e-mail of whom to ask for the team; None: nobody is named
    channel: str | None = None  # "#payments"; None: it has none
