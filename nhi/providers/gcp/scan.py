"""Reading an organisation, folder or project: the inventory and the policies by the page, then use, a project a call.

Resources and policies are two searches. Keys cost no further call, but where the inventory does not tell whose one is.
Use costs one call for each project with accounts and one more for each with keys of ours. Only for accounts that were
never used is it asked when they were made (a hundred projects a call): the inventory does not tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, groupby
from typing import Any, TypeVar

from nhi.identity import Aspect, Gap, Identity, scope_of
from nhi.providers import Progress
from nhi.providers.gcp import activity, assets, bindings, denials, keys, logs, shapes
from nhi.providers.gcp.activity import ACCOUNTS, KEYS, NOT_TOLD, Activity, Period, Used
from nhi.providers.gcp.assets import Account, ApiKey, Assets, Key, Place
from nhi.providers.gcp.bindings import Bindings, Grant
from nhi.providers.gcp.calls import AT_ONCE, Calls, CannotSee, reading
from nhi.providers.gcp.denials import Denial, Subject
from nhi.words import repeated, sentence

SEARCH = "cloudasset.assets.searchAllResources"
SEARCH_POLICIES = "cloudasset.assets.searchAllIamPolicies"
EVERYTHING = "gcp"  # all that one source holds: gaps are weighed against what is known of their own source
_PAGE = 500  # the search's greatest

One = TypeVar("One")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class _Use:
    """All activities of one kind, by project, and the time that every project was looked at."""

    by_project: dict[str, Activity]
    period: Period

    def of(self, project: str, *names: str) -> Used:
        found = self.by_project.get(project)
        used = found.used if found else {}
        own = next((used[name] for name in names if name in used), None)
        period = found.period if found and found.period.end else self.period
        return activity.or_else(own or Used(at=None, period=NOT_TOLD), period)

    def is_never(self, account: Account) -> bool:
        """Whether no use of the account is known, and that could be seen."""
        return (
            self.gap(account.project) is None and self.of(account.project, account.unique_id, account.email).at is None
        )

    def gap(self, project: str) -> str | None:
        found = self.by_project.get(project)
        return found.fault.reason if found and found.fault else None


class Scan:
    """One look at one scope. What it read of policies and projects stays, for evidence of owners."""

    def __init__(
        self, calls: Calls, scope: str, now: datetime, *, denials: bool = False, delegated: Mapping[str, str]
    ) -> None:
        """`denials`: whether deny policies are read too; `delegated`: the delegations known, by unique id."""
        self._calls = calls
        self._scope = scope
        self._now = now
        self.assets = Assets()
        self.bindings = Bindings()
        self._keys: dict[str, tuple[Key, ...]] = {}  # ours, by account
        self._bound: dict[str, list[ApiKey]] = defaultdict(list)  # by the e-mail of the account
        self._made_at: dict[str, datetime] = {}  # by unique id
        self._unborn: dict[str, str] = {}  # projects that could not tell when accounts were made, and why
        self._known_delegated = delegated
        self._delegations = logs.Delegations()
        self._all_bindings = True  # whether every policy could be read
        self._no_denials: set[str] = set()  # places whose deny policies could not be read
        self._denials: dict[str, Sequence[Denial]] | None = {} if denials else None  # by place; None: not asked for

    def run(self) -> Iterator[Identity | Gap | Progress]:
        url = f"cloudasset.googleapis.com/v1/{self._scope}"
        everything = frozenset(Aspect)
        resources = {"assetTypes": assets.TYPES, "readMask": assets.FIELDS, "pageSize": _PAGE}
        yield from self._read(SEARCH, f"{url}:searchAllResources", resources, self.assets, everything)
        policies = {"assetTypes": bindings.TYPES, "pageSize": _PAGE}
        # Google's own accounts are known from bindings alone.
        hidden = frozenset({Aspect.OWNER, Aspect.EXISTENCE, Aspect.PERMISSIONS})
        search = f"{url}:searchAllIamPolicies"
        self._all_bindings = yield from self._read(SEARCH_POLICIES, search, policies, self.bindings, hidden)
        accounts = sorted(self.assets.accounts.values(), key=lambda one: (one.project, one.email))
        yield from self._read_keys(accounts)
        yield from self._strays()
        for key in self.assets.api_keys:
            self._bound[key.account].append(key)
        used = yield from self._read_use(ACCOUNTS, accounts)
        keys_used = yield from self._read_use(KEYS, [one for one in accounts if self._keys[one.unique_id]])
        yield from self._read_births([one for one in accounts if used.is_never(one)])
        yield from self._read_delegation()
        yield from self._read_denials()
        found = chain((self._account(one, used, keys_used) for one in accounts), self._others())
        yield from found if self._all_bindings else (replace(one, access=None) for one in found)

    def _read(
        self, action: str, url: str, query: dict[str, Any], into: Assets | Bindings, hides: frozenset[Aspect]
    ) -> Generator[Gap | Progress, None, bool]:
        """Read a search by the page; return whether all of it was read."""
        try:
            for page in self._calls.pages(action, url, **query):
                with reading(action):
                    into.add(page)
                yield Progress(what="resources and policies", done=len(self.assets), total=None)
        except CannotSee as fault:
            yield Gap(scope=EVERYTHING, reason=_on(fault.reason, self._scope), hides=hides)
            return False
        return True

    def _read_keys(self, accounts: Sequence[Account]) -> Iterator[Gap | Progress]:
        """Take the keys from the inventory; list those of accounts with a key of which it tells too little."""
        untold = []
        for account in accounts:
            found = self.assets.keys_of(account)
            self._keys[account.unique_id] = tuple(key for key in found if key.ours)
            if any(key.ours is None for key in found):
                untold.append(account)
        for done, listed in enumerate(self._at_once(lambda one: keys.ask(self._calls, one), untold), start=1):
            if listed.fault is None:
                self._keys[listed.account.unique_id] = listed.keys
            else:
                scope = scope_of("gcp", listed.account.project, "service_account", listed.account.email)
                hidden = frozenset({Aspect.CREDENTIALS})
                yield Gap(scope=scope, reason=listed.fault.reason, hides=hidden)
            yield Progress(what="keys", done=done, total=len(untold))

    def _strays(self) -> Iterator[Gap]:
        """Yield a gap for keys whose account the inventory does not have: it is brought up to date piece by piece."""
        known = {*self.assets.accounts, *self.assets.accounts_by_email()}
        for account, found in self.assets.keys.items():
            if account not in known:
                scope = scope_of("gcp", found[0].project, "service_account", account)
                hidden = frozenset({Aspect.EXISTENCE, Aspect.CREDENTIALS})
                yield Gap(scope=scope, reason=repeated("clouds.gcp_gap_stray_key", action=SEARCH), hides=hidden)

    def _read_use(self, kind: str, accounts: Sequence[Account]) -> Generator[Gap | Progress, None, _Use]:
        projects = [project for project, _ in groupby(accounts, key=lambda one: one.project)]
        found: dict[str, Activity] = {}
        period = NOT_TOLD
        for done, one in enumerate(self._ask_use(kind, projects), start=1):
            found[one.project] = one
            period = period.narrowed(one.period)
            yield Progress(what="use", done=done, total=len(projects))
        yield from _use_gaps(found, self._scope)
        return _Use(by_project=found, period=period)

    def _ask_use(self, kind: str, projects: Sequence[str]) -> Iterator[Activity]:
        """Ask each project; where the analyser is not enabled at all, the first one tells it for all of them."""
        if not projects:
            return
        first = activity.ask(self._calls, projects[0], kind)
        yield first
        if first.fault is not None and first.fault.code == "SERVICE_DISABLED":
            yield from (replace(first, project=project) for project in projects[1:])
        else:
            yield from self._at_once(lambda project: activity.ask(self._calls, project, kind), projects[1:])

    def _read_births(self, never_used: Sequence[Account]) -> Iterator[Gap]:
        asked = [one for one in never_used if one.created_at is None]
        by_name = {name: one for one in asked for name in (one.unique_id, one.email)}
        projects = sorted({one.project for one in asked})
        for found in logs.made(self._calls, projects, (logs.CREATED,), self._now) if projects else ():
            if isinstance(found, logs.Unread):
                self._unborn |= dict.fromkeys(found.projects, found.fault.reason)
                yield from logs.gaps(found, Aspect.OWNER)
                continue
            account = next((by_name[name] for name in sorted(found.account) if name in by_name), None)
            if account is not None:
                self._made_at[account.unique_id] = found.at

    def _read_delegation(self) -> Iterator[Gap]:
        if not self._scope.startswith("organizations/") or not self.assets.accounts:
            return  # the log is the organisation's; a folder's or project's reader is not asked to see it
        try:
            self._delegations = logs.delegations(self._calls, self._scope, self._now)
        except CannotSee as fault:
            # It hides none of what gaps are weighed for, and is told all the same; each account's coverage says it too.
            yield Gap(scope=EVERYTHING, reason=_on(fault.reason, self._scope), hides=frozenset())

    def _read_denials(self) -> Iterator[Gap]:
        """Read what denies in the places where somebody has roles; a gap for those that could not be read."""
        if self._denials is None:
            return
        grants = chain(*self.bindings.accounts.values(), *self.bindings.pools.values())
        faults: dict[str, list[str]] = defaultdict(list)
        for told in self._at_once(lambda place: denials.ask(self._calls, place), denials.places(grants)):
            self._denials[told.place] = told.found
            if told.fault is not None:
                self._no_denials.add(told.place)
                faults[told.fault.reason].append(told.place)
        for reason, places in faults.items():
            # What is read without them is at most more than what may really be done.
            yield Gap(scope=EVERYTHING, reason=_on(reason, *places), hides=frozenset({Aspect.CEILINGS}))

    def _limited(self, identity: Identity, subject: Subject, grants: Sequence[Grant]) -> Identity:
        """Return an identity with what stands above it; not told, where one place on the way could not be read."""
        if self._denials is None or identity.access is None:
            return identity
        if not self._no_denials.isdisjoint(denials.places(grants)):
            return identity
        above = denials.ceilings(subject, grants, self._denials)
        return replace(identity, access=replace(identity.access, ceilings=above))

    def _account(self, account: Account, used: _Use, keys_used: _Use) -> Identity:
        project = self.assets.projects.get(account.place.project)
        known = used.of(account.project, account.unique_id, account.email)
        born = replace(account, created_at=account.created_at or self._made_at.get(account.unique_id))
        ours = self._keys[account.unique_id]
        facts = shapes.Facts(
            keys=ours,
            used=known,
            used_gap=used.gap(account.project) or self._birth_gap(born, known),
            keys_used={key.id: keys_used.of(account.project, key.id) for key in ours},
            keys_gap=keys_used.gap(account.project),
            grants=self.bindings.accounts.get(account.email, ()),
            delegated=self._delegation(account),
            api_keys=self._bound.get(account.email, ()),
            trust=self.bindings.trusting(
                account.project,
                account.place.project,
                (account.email, account.unique_id),
                (*account.place.folders, account.place.organization),
            ),
            denials=self._denials is not None,
        )
        subject = Subject(kind="ServiceAccount", name=account.email, places=_places(account.place))
        return self._limited(shapes.service_account(born, facts, project, self._now), subject, facts.grants)

    def _delegation(self, account: Account) -> str | None:
        """Return for what an account acts for people; what was known of it holds until the log tells that it ended."""
        clients, told = (account.client_id, account.unique_id), self._delegations
        now = next((told.given[client] for client in clients if client in told.given), None)
        ended = not told.ended.isdisjoint(clients)
        return now if now is not None or ended else self._known_delegated.get(account.unique_id)

    def _birth_gap(self, account: Account, used: Used) -> str | None:
        why = self._unborn.get(account.project)
        if used.at is not None or account.created_at is not None or why is None:
            return None
        return repeated("clouds.gcp_no_birth", reason=why)

    def _others(self) -> Iterator[Identity]:
        """Yield API keys, pools and Google's own accounts."""
        found = self.assets
        for key in found.api_keys:
            yield shapes.api_key(key, found.id_of(key.place.project), found.projects.get(key.place.project))
        for name, pool in found.pools.items():
            place, grants = pool.place.project, self.bindings.pools.get(name, ())
            identity = shapes.pool(
                pool,
                found.id_of(place),
                found.providers.get(name, ()),
                grants,
                found.projects.get(place),
                denials=self._denials is not None,
            )
            yield self._limited(identity, Subject(kind="", name=name, places=_places(pool.place)), grants)
        for name, grants in self.bindings.pools.items():
            if name not in found.pools:
                identity = shapes.pool_elsewhere(name, found.id_of("/".join(name.split("/")[:2])), self._scope, grants)
                yield self._limited(identity, Subject(kind="", name=name, places=frozenset()), grants)
        for email, number in self.bindings.agents().items():
            project = found.id_of(f"projects/{number}")
            grants = self.bindings.accounts[email]
            subject = Subject(kind="ServiceAgent", name=email, places=frozenset({f"projects/{number}"}))
            yield self._limited(shapes.service_agent(email, project, self._scope, grants), subject, grants)

    @staticmethod
    def _at_once(ask: Callable[[One], Answer], each: Sequence[One]) -> Iterator[Answer]:
        if not each:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gcp") as pool:
            try:
                yield from pool.map(ask, each)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # who stops listening must not wait for the rest


def _places(place: Place) -> frozenset[str]:
    return frozenset(filter(None, (place.project, *place.folders, place.organization)))


def _on(reason: str, place: str, *more: str) -> str:
    return sentence("clouds.gcp_gap_on", reason=reason, place=place, more=len(more))


def _use_gaps(found: dict[str, Activity], scope: str) -> Iterable[Gap]:
    """Return a gap for each project whose use could not be seen, or one for all where all refused alike."""
    faults = {project: one.fault for project, one in found.items() if one.fault is not None}
    reasons = {fault.reason for fault in faults.values()}
    hidden = frozenset({Aspect.USE})
    if len(faults) > 1 and len(faults) == len(found) and len(reasons) == 1:
        reason = sentence("clouds.gcp_gap_everywhere", reason=reasons.pop(), scope=scope)
        return [Gap(scope=EVERYTHING, reason=reason, hides=hidden)]
    return [
        Gap(scope=scope_of("gcp", project, "service_account"), reason=fault.reason, hides=hidden)
        for project, fault in faults.items()
    ]
