"""What a provider is: small protocols, one a capability, and the plain dict of those there are.

A provider reads one place (an AWS account, a Google organisation) with the credentials it is given. It never
writes to the database, never decides, and never hides what it could not see: it yields a `Gap`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from nhi.activity import Use
from nhi.certificate import Caller, Read
from nhi.identity import Credential, CredentialStatus, Evidence, Exercise, Gap, Identity, Need
from nhi.own_power import Power
from nhi.policy import Source
from nhi.policy_activity import Activity
from nhi.rotation import Key, Place, Ready, Stored
from nhi.screaming import Hearing


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is known from before and spares calls.

    `credential_ids` maps (identity key, credential key) to the credential's public id: both are fixed for the
    credential's life, so an id once learnt need not be asked for again. `documents` are policies of the cloud's own, by
    their name and version: what one version says never changes. `delegated` are identities, by their key, that act for
    people of Google Workspace, with what for: the log that tells of it keeps it for 400 days, and may be refused.
    """

    credential_ids: Mapping[tuple[str, str], str]
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    delegated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The one credential that an act is about."""

    account: str
    identity_name: str
    identity_key: str
    credential_kind: str
    credential_id: str
    principal: str = ""  # the provider's whole name of the identity; empty: not told
    begun_at: datetime | None = None  # when the act about it began to change something; None: it has not yet
    former: Mapping[str, Any] = field(default_factory=dict)  # what that act found around it, as its undo keeps it


@dataclass(frozen=True, kw_only=True)
class CredentialState:
    """What a credential looks like right now, read for this act alone."""

    status: CredentialStatus
    last_used_at: datetime | None  # None: never used
    last_used_service: str | None = None
    last_used_region: str | None = None
    blocked: str | None = None  # why an act could not be kept to this one credential; None: it can
    reads: tuple[Read, ...] = ()  # what was read for this, for the certificate
    caller: Caller | None = None  # who called with it last; None: no log was asked, or none tells
    former: Mapping[str, Any] = field(default_factory=dict)  # what is around it, and stays as it is


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many identities of a kind a cloud itself says there are, told by another call than the scan's own."""

    kind: str  # "iam_user"
    number: int
    source: str  # "iam:GetAccountSummary Users"


@dataclass(frozen=True, kw_only=True)
class Exercised:
    """What one identity was seen to use of what it may do."""

    identity_key: str
    exercise: Exercise


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a scan is, for a progress bar: `done` of `total` things (total None: not known yet)."""

    what: str
    done: int
    total: int | None


class Provider(Protocol):
    """A place that identities live in, opened by `connect`."""

    name: str
    permissions: Sequence[Need]

    @property
    def account(self) -> str:
        """The account that this connection sees, or a short name of the source if it cannot be reached."""

    @property
    def api_calls(self) -> Mapping[str, int]:
        """How many requests went out, by action ("iam:ListAccessKeys"), retries included."""

    def scan(
        self, *, memory: Memory, matters: Callable[[Identity, Credential], bool], now: datetime
    ) -> Iterator[Identity | Gap | Progress]:
        """Yield every identity there is, and a gap for everything that could not be seen.

        `matters` tells whether a credential can matter to a finding; only for those is it worth a call to
        learn more (the public id of a key). A gap may come before or after the identities that it is about.
        """


@runtime_checkable
class TellsCreators(Protocol):
    """A provider that knows who made things."""

    def creators(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        """Yield who made or last rotated these identities, one gap a place that could not be asked."""


@runtime_checkable
class TellsUses(Protocol):
    """A provider that knows whose sessions used an identity."""

    def uses(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        """Yield who used these identities lately, each person once; a gap for what could not be asked."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Uses that were read together, and where the reading of their place stands after them.

    They are written down with that position in one transaction, so a run that dies reads them again or not at all.
    """

    place: str  # "aws/123456789012/eu-west-1": positions are kept by it
    uses: Sequence[Use]
    position: Mapping[str, str]
    files: Sequence[str] = ()  # names of files that are read with this, never to be read again


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reading of activity begins with."""

    positions: Mapping[str, Mapping[str, str]]  # by place, as the last batch of it left it
    is_read: Callable[[str], bool]  # whether a file of this name was read before
    ends: Callable[[], bool]  # whether the time for this reading is over: the rest comes next time


@runtime_checkable
class TellsActivity(Protocol):
    """A provider that can read what identities did, event by event."""

    @property
    def activity_coverage(self) -> str:
        """What its trail shows and does not, in a sentence."""

    def activity(
        self, identities: Sequence[Identity], reading: Reading, limits: Activity, *, now: datetime
    ) -> Iterator[Batch | Gap]:
        """Yield what was done since the last reading, the newest first where all cannot be read; a gap for the rest.

        An event may come more than once: whoever writes it down counts it once, by its id.
        """


@runtime_checkable
class ReadsDocuments(Protocol):
    """A provider whose scan may read policies of the cloud's own, which is to be remembered for the next one."""

    @property
    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        """What the scan just made read for the first time, by name and version; makes no call."""


@runtime_checkable
class TellsExercise(Protocol):
    """A provider that knows which of its permissions an identity uses."""

    def exercises(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Exercised | Gap]:
        """Yield what each identity was seen to use, or a gap for what could not be asked. A few calls each."""


@runtime_checkable
class TellsOwners(Protocol):
    """A provider whose scan reads what speaks for owners beside an identity's own tags."""

    owner_sources: Sequence[str]  # of its evidence: what such a source does not tell any more does not speak any more

    def owner_evidence(self, identity: Identity, *, keys: Sequence[str]) -> Iterator[Evidence]:
        """Yield what the scan just made read around an identity; makes no call.

        `keys` are the names that policy gives to what tells an owner ("owner", "team-email").
        """


@runtime_checkable
class SpansAccounts(Protocol):
    """A provider of which one source holds many accounts: an organisation."""

    def holds(self, identity: Identity) -> bool:
        """Whether an identity known from before lies in this source, so that it is gone if not seen; makes no call."""


@runtime_checkable
class LooksAtSome(Protocol):
    """A provider that reads some kinds of identities only where policy says so."""

    def looks_at(self, identity: Identity) -> bool:
        """Whether a scan would see this identity if it is still there; makes no call."""


@runtime_checkable
class Counts(Protocol):
    """A provider that can say how many there are without listing them, so that a scan can be held against it."""

    def counts(self) -> Iterator[Count | Gap]:
        """Yield the number of each kind of identity right now, or one gap for what could not be counted."""


@runtime_checkable
class TellsQueries(Protocol):
    """A provider that can say with which parameters it asked, for who wants to ask the same again."""

    @property
    def queries(self) -> Mapping[str, str]:
        """The parameters of the first request of each action; those that name one identity are left out."""


@runtime_checkable
class Disables(Protocol):
    """A provider that can turn one credential off and on again."""

    disable_permissions: Sequence[Need]

    def disables(self, credential_kind: str) -> bool:
        """Whether a credential of this kind can be turned off reversibly."""

    def look(self, target: Target) -> CredentialState | Gap | None:
        """Read the credential's state right now; None: it is not there any more."""

    def disable(self, target: Target) -> None:
        """Turn this one credential off. Raises ProviderError."""

    def enable(self, target: Target) -> None:
        """Turn this one credential on. Raises ProviderError."""


@runtime_checkable
class EndsSessions(Protocol):
    """A provider that can end the sessions that are under way, as a `Target` of the kind that it says."""

    def sessions_of(self, credential_kind: str) -> str | None:
        """Return the kind of target that stands for a credential's sessions; None: they cannot be ended."""


@runtime_checkable
class Listens(Protocol):
    """A provider with a log that tells of calls with what is turned off."""

    def audible_kind(self, credential_kind: str) -> str | None:
        """Return the kind of target by which such a credential is off so that calls with it are logged as denied.

        None: there is no such way, and calls with it leave no trace while it is off.
        """

    def hearing(self, target: Target) -> Hearing:
        """Say what can be heard of a target that is off, and what cannot. Makes no call."""

    def heard(self, target: Target, since: datetime) -> Sequence[Caller] | Gap:
        """Return calls with it since an instant, oldest first; a gap where the log cannot be read."""


@runtime_checkable
class TellsPowers(Protocol):
    """A provider that can say what this program may do there, without trying it out."""

    def powers(self) -> Iterator[Power]:
        """Yield what the reader may do, and then what the remediator may."""


@runtime_checkable
class TellsItself(Protocol):
    """A provider that can say whom this program acts as there."""

    def itself(self) -> Sequence[str]:
        """Return the provider's names of whom this program acts as there; what cannot be told is left out."""


@runtime_checkable
class Rotates(Protocol):
    """A provider that can make a second key and put its secret straight where policy says.

    The secret never leaves the method that makes it: no value, no error and no log of it comes out of here.
    """

    rotate_permissions: Sequence[Need]
    keys_at_most: int  # that one identity may have

    def rotates(self, credential_kind: str) -> bool:
        """Whether a second credential of this kind can be made."""

    def keys(self, target: Target) -> tuple[Key, ...] | Gap | None:
        """Read the keys of the target's identity right now, with their last use; None: the identity is not there."""

    def prepare(self, target: Target, place: Place) -> Ready:
        """Make sure that the place can be written to, before a key is made. Raises ProviderError."""

    def make(self, target: Target, place: Place, version: str, made: Callable[[str], None]) -> Stored | None:
        """Make a key and store it; `made` is told its id in between. None: the place makes it by itself, and later.

        Raises ProviderError: `permanent` where nothing was made, else it must be found out what was.
        """

    def stored(self, target: Target, place: Place, version: str, former: str | None) -> Stored | None:
        """Return where this version is, if it is the current one of its place. Raises ProviderError.

        `former` is what `prepare` told; a provider that names its versions by itself knows the new one by it.
        """

    def put_back(self, target: Target, place: Place, version: str, former: str | None) -> None:
        """Let the place's former version be the current one again. Raises ProviderError."""

    def made_by(self, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
        """Whether `acting_as` made this key, by the provider's trail; None: the trail does not tell (yet)."""


@runtime_checkable
class TellsFreezes(Protocol):
    """A provider with a calendar of when changes are allowed."""

    def is_open(self, calendar: str) -> bool | Gap:
        """Whether changes are allowed right now, by the calendar of this name; a gap where it cannot be told."""


Connect = Callable[[Source], Provider]


def providers() -> dict[str, Connect]:
    """Return the providers there are, by name. Imported here so that a provider's SDK loads only when used."""
    from nhi.providers import gcp
    from nhi.providers.aws import organization

    return {"aws": organization.connect, "gcp": gcp.connect}
