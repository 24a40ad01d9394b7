"""An organisation of AWS accounts as one source: every account by one role's name, many at a time.

The management account, or one that AWS Organizations delegates to, lists the accounts; the role of the given name is
taken in each but the one that the caller is in. One account that cannot be seen is a gap, and stops no other.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from nhi.certificate import Caller
from nhi.environment import ACCOUNT_NAME
from nhi.errors import ProviderError
from nhi.identity import Aspect, Credential, Evidence, Gap, Identity, Need, scope_of
from nhi.own_power import Power
from nhi.policy import Source
from nhi.policy_activity import LOOKUP, Activity
from nhi.providers import Batch, Count, CredentialState, Exercised, Memory, Progress, Reading, Target
from nhi.providers.aws import Aws, control
from nhi.providers.aws import connect as connect_account
from nhi.providers.aws.calls import Calls, CannotSee, reading
from nhi.rotation import Key, Place, Ready, Stored
from nhi.screaming import Hearing
from nhi.words import sentence

LIST = "organizations:ListAccounts"
PERMISSIONS = (Need(action=LIST, why="lists the organisation's accounts"), *control.PERMISSIONS)
EVERYTHING = "aws"  # gaps are weighed against what is known of their own source
AT_ONCE = 8  # accounts being read
_WAITING = 2000  # things that were read and not yet taken
_MOMENT = 0.1  # seconds between two looks whether anybody still listens

Found = Identity | Gap | Progress
One = TypeVar("One")


def connect(source: Source) -> Aws | Organization:
    """Open an account, or the organisation where the source says so. Makes no call yet."""
    return Organization(source) if source.organization else connect_account(source)


class Organization:
    """All accounts of one organisation, as every protocol that `Aws` is, and SpansAccounts."""

    name = "aws"
    permissions: Sequence[Need] = (*PERMISSIONS, *Aws.permissions)
    disable_permissions: Sequence[Need] = Aws.disable_permissions
    rotate_permissions: Sequence[Need] = Aws.rotate_permissions
    keys_at_most = Aws.keys_at_most

    def __init__(self, source: Source) -> None:
        self._source = source
        self._calls = Calls(source, role_arn=source.role_arn)
        self._members: dict[str, Aws] = {}
        self._closed: list[str] = []  # accounts that are suspended: nobody can look into them
        self._names: dict[str, str] = {}  # what accounts are called, by number
        self._here = ""  # the account that is asked which there are
        self._id: str | None = None  # "o-exampleorgid"; None: not listed yet
        self._documents: dict[str, Mapping[str, Any]] = {}

    @property
    def account(self) -> str:
        """The organisation's id; "organization" where it cannot be listed."""
        try:
            self._list()
        except CannotSee:
            return "organization"
        return self._id or "organization"

    @property
    def activity_coverage(self) -> str:
        return _ANY.activity_coverage

    @property
    def api_calls(self) -> Mapping[str, int]:
        made = Counter(self._calls.made)
        for member in self._members.values():
            made.update(member.api_calls)
        return made

    @property
    def queries(self) -> Mapping[str, str]:
        queries = dict(self._calls.queries)
        for member in self._members.values():
            queries |= member.queries
        return queries

    @property
    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        return self._documents

    def holds(self, identity: Identity) -> bool:
        """Whether the identity's account is listed, the suspended ones too."""
        try:
            self._list()
        except CannotSee:
            return False
        return identity.provider == self.name and identity.account in (*self._members, *self._closed)

    def looks_at(self, identity: Identity) -> bool:
        member = self._members.get(identity.account)
        return member is None or member.looks_at(identity)

    def scan(
        self, *, memory: Memory, matters: Callable[[Identity, Credential], bool], now: datetime
    ) -> Iterator[Found]:
        """Yield what is in all accounts, as it comes, and a gap for each account that could not be seen."""
        try:
            self._list()
        except CannotSee as fault:
            yield Gap(scope=EVERYTHING, reason=fault.reason, hides=frozenset(Aspect))
            return
        for number in self._closed:
            scope = scope_of("aws", number)
            yield Gap(scope=scope, reason=f"AccountSuspended: {LIST}", hides=frozenset(Aspect))

        ceilings, numbers = None, {id(member): number for number, member in self._members.items()}
        try:
            ceilings = control.read(self._calls)
        except CannotSee as fault:
            # What is read without them is at most more than what may really be done.
            yield Gap(scope=EVERYTHING, reason=fault.reason, hides=frozenset({Aspect.CEILINGS}))
        finally:
            self._calls.close()

        every = frozenset(self._members)

        def read(member: Aws) -> Iterator[Found]:
            above = None if ceilings is None else ceilings.get(numbers[id(member)], ())
            documents = self._documents
            found = member.scan(memory=memory, matters=matters, now=now, shared=documents, ceilings=above, along=every)
            return (self._named(one) if isinstance(one, Identity) else one for one in found)

        yield from _together([*self._members.values()], read)

    def _named(self, identity: Identity) -> Identity:
        name = self._names.get(identity.account)
        return replace(identity, tags={**identity.tags, ACCOUNT_NAME: name}) if name else identity

    def creators(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        for member, theirs in self._by_account(identities):
            yield from member.creators(theirs, now=now)

    def uses(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        for member, theirs in self._by_account(identities):
            yield from member.uses(theirs, now=now)

    def exercises(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Exercised | Gap]:
        """Yield what each account tells; analyzers are those of accounts here, each asked about its own."""
        for member, theirs in self._by_account(identities):
            yield from member.exercises(theirs, now=now)

    def activity(
        self, identities: Sequence[Identity], reading: Reading, limits: Activity, *, now: datetime
    ) -> Iterator[Batch | Gap]:
        """Yield what was done: from the one trail that the source names, or by LookupEvents of each account."""
        if (self._source.activity or LOOKUP) != LOOKUP:
            plain = {"organization": False, "role_name": None, "remediator_role_name": None}
            yield from Aws(self._source.model_copy(update=plain)).activity(identities, reading, limits, now=now)
            return
        for member, theirs in self._longest_unread_first(identities, reading):
            if reading.ends():
                scope = scope_of("aws", theirs[0].account)
                yield Gap(scope=scope, reason=sentence("clouds.aws_gap_no_time"), hides=frozenset({Aspect.ACTIVITY}))
            else:
                yield from member.activity(theirs, reading, limits, now=now)

    def _longest_unread_first(
        self, identities: Iterable[Identity], reading: Reading
    ) -> list[tuple[Aws, list[Identity]]]:
        """Return the accounts by when they were read last: where time is short, each has its turn."""
        read: dict[str, str] = {}
        for place, position in reading.positions.items():
            account, until = place.split("/")[1:2], position.get("until", "")
            if place.startswith("aws/") and account:
                read[account[0]] = min(until, read.get(account[0], until))
        return sorted(self._by_account(identities), key=lambda one: read.get(one[1][0].account, ""))

    def counts(self) -> Iterator[Count | Gap]:
        """Yield the sum over all accounts; where one cannot be counted, a gap, and the sum of the others."""
        try:
            self._list()
        except CannotSee as fault:
            yield Gap(scope=EVERYTHING, reason=fault.reason, hides=frozenset())
            return
        found: dict[str, list[Count]] = defaultdict(list)
        for one in _together([*self._members.values()], Aws.counts):
            if isinstance(one, Count):
                found[one.kind].append(one)
            else:
                yield one
        for kind, counts in found.items():
            yield Count(kind=kind, number=sum(one.number for one in counts), source=counts[0].source)

    def disables(self, credential_kind: str) -> bool:
        return _ANY.disables(credential_kind)

    def sessions_of(self, credential_kind: str) -> str | None:
        return _ANY.sessions_of(credential_kind)

    def audible_kind(self, credential_kind: str) -> str | None:
        return _ANY.audible_kind(credential_kind)

    def hearing(self, target: Target) -> Hearing:
        return _ANY.hearing(target)

    def heard(self, target: Target, since: datetime) -> Sequence[Caller] | Gap:
        member = self._member(target)
        return _unlisted(target) if member is None else member.heard(target, since)

    def is_open(self, calendar: str) -> bool | Gap:
        return Aws(self._source).is_open(calendar)

    def look(self, target: Target) -> CredentialState | Gap | None:
        member = self._member(target)
        return _unlisted(target) if member is None else member.look(target)

    def disable(self, target: Target) -> None:
        self._acting(target).disable(target)

    def enable(self, target: Target) -> None:
        self._acting(target).enable(target)

    def powers(self) -> Iterator[Power]:
        """Yield what both roles may do in two accounts: the one that is asked for the others, and the first of those.

        The roles are made alike in all, so one account more tells nothing new.
        """
        try:
            self._list()
        except CannotSee as fault:
            yield Power(purpose="reads", principal="", own_role=True, unseen=fault.reason)
            return
        here = [member for number, member in self._members.items() if number == self._here]
        others = [member for number, member in self._members.items() if number != self._here]
        for member in (*here, *others[:1]):
            yield from member.powers()

    def itself(self) -> Sequence[str]:
        """Return the roles that this program runs as, in each account."""
        try:
            self._list()
        except CannotSee:
            return ()
        return [name for member in self._members.values() for name in member.itself()]

    def rotates(self, credential_kind: str) -> bool:
        return _ANY.rotates(credential_kind)

    def keys(self, target: Target) -> tuple[Key, ...] | Gap | None:
        member = self._member(target)
        return _unlisted(target) if member is None else member.keys(target)

    def prepare(self, target: Target, place: Place) -> Ready:
        return self._acting(target).prepare(target, place)

    def make(self, target: Target, place: Place, version: str, made: Callable[[str], None]) -> Stored | None:
        return self._acting(target).make(target, place, version, made)

    def stored(self, target: Target, place: Place, version: str, former: str | None) -> Stored | None:
        return self._acting(target).stored(target, place, version, former)

    def put_back(self, target: Target, place: Place, version: str, former: str | None) -> None:
        self._acting(target).put_back(target, place, version, former)

    def made_by(self, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
        member = self._member(target)
        return None if member is None else member.made_by(target, key_id, acting_as, since)

    def _acting(self, target: Target) -> Aws:
        member = self._member(target)
        if member is None:
            message = sentence("clouds.aws_account_not_listed", account=target.account)
            raise ProviderError(message, code="NotListed", permanent=False)
        return member

    def _member(self, target: Target) -> Aws | None:
        try:
            self._list()
        except CannotSee:
            return None
        return self._members.get(target.account)

    def _by_account(self, identities: Iterable[Identity]) -> Iterator[tuple[Aws, list[Identity]]]:
        theirs: dict[str, list[Identity]] = defaultdict(list)
        for identity in identities:
            theirs[identity.account].append(identity)
        return ((self._members[number], found) for number, found in theirs.items() if number in self._members)

    def _list(self) -> None:
        """Learn the accounts, once. Raises CannotSee."""
        if self._id is not None:
            return
        here = str(self._calls.ask("sts:GetCallerIdentity")["Account"])
        members: dict[str, Aws] = {}
        closed: list[str] = []
        names: dict[str, str] = {}
        organization = ""
        for page in _pages(self._calls):
            with reading(LIST):
                for one in page["Accounts"]:
                    names[str(one["Id"])] = str(one.get("Name") or "")
                    number, organization = str(one["Id"]), str(one["Arn"]).split("/")[1]
                    if (one.get("State") or one.get("Status")) in ("ACTIVE", "PENDING_CLOSURE"):
                        members[number] = self._open(number, str(one["Arn"]).split(":")[1], here)
                    else:
                        closed.append(number)
        self._calls.close()
        self._members, self._closed, self._names = members, closed, names
        self._here, self._id = here, organization

    def _open(self, number: str, partition: str, here: str) -> Aws:
        """Open a member: as ourselves where we are already there, else by the role of the one name."""

        def arn(role: str | None) -> str | None:
            return None if role is None else f"arn:{partition}:iam::{number}:role/{role}"

        source = self._source
        own = {"role_arn": source.role_arn if number == here else arn(source.role_name)}
        acting = {"remediator_role_arn": arn(source.remediator_role_name)}
        through = None if number == here else source.role_arn
        analyzers = tuple(arn for arn in source.access_analyzers if arn.split(":")[4] == number)
        plain = {"access_analyzers": analyzers, "organization": False, "role_name": None, "remediator_role_name": None}
        return Aws(source.model_copy(update={**own, **acting, **plain}), through=through)


_ANY = Aws(Source())  # for what is the same in every account, and makes no call


def _pages(calls: Calls) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of accounts, twenty each. Raises CannotSee."""
    more: dict[str, str] = {}
    seen: set[str] = set()
    while True:
        page = calls.ask(LIST, **more)
        yield page
        token = page.get("NextToken")
        if not token:
            return
        if token in seen:
            raise CannotSee("BrokenPaging", LIST, passing=True)
        seen.add(token)
        more = {"NextToken": str(token)}


def _unlisted(target: Target) -> Gap:
    scope = scope_of("aws", target.account)
    return Gap(scope=scope, reason=f"NotListed: {LIST}", hides=frozenset(Aspect))


def _together(members: Sequence[Aws], read: Callable[[Aws], Iterator[One]]) -> Iterator[One]:
    """Yield what is read of each member, many members at a time, as it comes."""
    waiting: Queue[One] = Queue(_WAITING)
    stopped = threading.Event()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="accounts") as pool:
        running = [pool.submit(_pump, read(member), waiting, stopped) for member in members]
        try:
            while not (all(one.done() for one in running) and waiting.empty()):
                try:
                    yield waiting.get(timeout=_MOMENT if any(not one.done() for one in running) else 0)
                except Empty:
                    continue
            _raise_of(running)
        finally:
            stopped.set()  # who stops listening must not wait for the rest
            pool.shutdown(wait=False, cancel_futures=True)


def _pump(found: Iterator[One], waiting: Queue[One], stopped: threading.Event) -> None:
    for one in found:
        while not stopped.is_set():
            try:
                waiting.put(one, timeout=_MOMENT)
            except Full:
                continue
            break
        if stopped.is_set():
            return


def _raise_of(running: Sequence[Future[None]]) -> None:
    """A cloud's fault is a gap and raises nothing: what was raised is our own, and must be heard."""
    for one in running:
        one.result()
