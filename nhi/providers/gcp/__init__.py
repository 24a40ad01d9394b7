"""Google Cloud: service accounts, keys, API keys and workload identity pools of an organisation, folder or project.

Everything there is comes from two searches of Cloud Asset Inventory, by the page. Last use is asked for a project at a
time; when an account was made, only for those never used; who made it, only for those with findings.

scan.py reads a scope; assets.py, bindings.py, activity.py and logs.py make sense of answers; shapes.py makes identities
of them; keys.py lists the keys of one account where the inventory falls short; owners.py tells what speaks for owners;
denials.py reads deny policies; acts.py turns accounts and keys off and on, and audible.py hears who calls meanwhile;
rotation.py makes a second key and stores it; calls.py is the way out to Google.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from nhi.certificate import Caller
from nhi.identity import Aspect, Credential, CredentialStatus, Evidence, Gap, Identity, Need
from nhi.own_power import Power
from nhi.policy import Source
from nhi.policy_activity import OFF, Activity
from nhi.providers import Batch, CredentialState, Exercised, Memory, Progress, Reading, Target
from nhi.providers.gcp import acts, audible, denials, logs, own_power, owners, recommender, rotation, uses
from nhi.providers.gcp.bindings import Bindings
from nhi.providers.gcp.calls import Calls, CannotSee
from nhi.providers.gcp.scan import EVERYTHING, Scan
from nhi.rotation import Key, Place, Ready, Stored
from nhi.screaming import Hearing
from nhi.words import sentence

PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "cloudasset.assets.searchAllResources": "lists projects, service accounts, keys, API keys and identity pools",
        "cloudasset.assets.searchAllIamPolicies": "tells who has which role, and who owns a project",
        "iam.serviceAccountKeys.list": "tells whose a key is, where the inventory does not",
        "policyanalyzer.serviceAccountLastAuthenticationActivities.query": "tells when an account was last used",
        "policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query": "tells when a key was last used",
        "logging.logEntries.list": "tells who made an account or key, and when; what accounts do day by day; of the"
        " organisation, whom Workspace lets act for its people",
        "logging.privateLogEntries.list": "the same of reads of data, where a project logs them",
        "iam.serviceAccounts.get": "looks at an account right before an act",
        "iam.serviceAccountKeys.get": "looks at a key right before an act",
        "monitoring.timeSeries.list": "tells, right before an act, of uses in the last days",
    }.items()
)
DISABLE_PERMISSIONS = tuple(
    Need(action=action, why=why, writes=True)
    for action, why in {
        "iam.serviceAccounts.disable": "turns one service account off",
        "iam.serviceAccounts.enable": "turns it on again",
        "iam.serviceAccountKeys.disable": "turns one key off",
        "iam.serviceAccountKeys.enable": "turns it on again",
    }.items()
)


def connect(source: Source) -> Gcp:
    """Open an organisation, folder or project. Makes no call yet."""
    return Gcp(source)


class Gcp:
    """One scope of Google Cloud, as the protocols of nhi/providers/__init__.py that it has the methods of."""

    name = "gcp"
    permissions: Sequence[Need] = PERMISSIONS
    recommender_permissions: Sequence[Need] = recommender.PERMISSIONS  # where the source asks for it
    denial_permissions: Sequence[Need] = denials.PERMISSIONS  # where the source asks for deny policies
    disable_permissions: Sequence[Need] = DISABLE_PERMISSIONS
    rotate_permissions: Sequence[Need] = rotation.PERMISSIONS
    keys_at_most = rotation.KEYS_AT_MOST
    owner_sources: Sequence[str] = owners.SOURCES

    def __init__(self, source: Source) -> None:
        self._scope = source.scope
        self._trail = source.activity
        self._asks_recommender = source.recommender
        self._reads_denials = source.deny_policies
        self._calls = Calls(source, impersonate=source.impersonate)
        self._acting = self._calls
        if source.remediator_impersonate is not None:
            self._acting = Calls(source, impersonate=source.remediator_impersonate)
        self._bindings = Bindings()

    @property
    def account(self) -> str:
        """The scope ("organizations/123"); where none is set, the ambient project, or "ambient" without one."""
        try:
            return self._known_scope()
        except CannotSee:
            return "ambient"

    @property
    def activity_coverage(self) -> str:
        return sentence("clouds.gcp_sees_activity")

    @property
    def api_calls(self) -> Mapping[str, int]:
        """How many requests went out, by the permission that each needs, retries and acts included."""
        return self._calls.made if self._acting is self._calls else self._calls.made + self._acting.made

    @property
    def queries(self) -> Mapping[str, str]:
        return self._calls.queries

    def scan(
        self, *, memory: Memory, matters: Callable[[Identity, Credential], bool], now: datetime
    ) -> Iterator[Identity | Gap | Progress]:
        """Yield every identity, and a gap for everything that could not be seen. A cloud's fault never raises.

        Ids come with the inventory, so of `memory` only delegations are of use, and `matters` spares nothing here.
        """
        try:
            scope, known = self._known_scope(), memory.delegated
            scan = Scan(self._calls, scope, now, denials=self._reads_denials, delegated=known)
        except CannotSee as fault:
            yield Gap(scope=EVERYTHING, reason=fault.reason, hides=frozenset(Aspect))
            return
        self._bindings = scan.bindings
        try:
            yield from scan.run()
        finally:
            self._calls.close()

    def creators(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        """Yield who made these accounts and their keys, as far as the audit logs' 400 days go."""
        try:
            yield from logs.creators(self._calls, identities, now)
        finally:
            self._calls.close()

    def activity(
        self, identities: Sequence[Identity], reading: Reading, limits: Activity, *, now: datetime
    ) -> Iterator[Batch | Gap]:
        """Yield what service accounts did, from the audit logs of their projects."""
        if self._trail == OFF:
            return
        try:
            yield from uses.read(self._calls, self._known_scope(), identities, reading, limits, now)
        except CannotSee as fault:  # without a scope
            yield Gap(scope=EVERYTHING, reason=fault.reason, hides=frozenset({Aspect.ACTIVITY}))
        finally:
            self._calls.close()

    def exercises(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Exercised | Gap]:
        """Yield what the recommender tells of these accounts' roles, where the source asks for it."""
        if not self._asks_recommender:
            return
        try:
            yield from recommender.Recommender(self._calls, now).exercises(identities)
        finally:
            self._calls.close()

    def owner_evidence(self, identity: Identity, *, keys: Sequence[str]) -> Iterator[Evidence]:
        """Yield what the project's labels and owners, and what people wrote about it, tell of an identity's owner."""
        return owners.evidence(identity, self._bindings, keys)

    def holds(self, identity: Identity) -> bool:
        """Whether the identity lies in this scope, as it was last seen; what only bindings tell of, where they did."""
        tags = identity.tags
        if "gcp:scope" in tags:
            return tags["gcp:scope"] == self.account
        places = (f"projects/{identity.account}", tags.get("gcp:project"), tags.get("gcp:organization"))
        return self.account in (*places, *tags.get("gcp:folders", "").split())

    def disables(self, credential_kind: str) -> bool:
        return credential_kind in acts.SWITCHED

    def look(self, target: Target) -> CredentialState | Gap | None:
        return acts.look(self._calls, target)

    def audible_kind(self, credential_kind: str) -> str | None:
        """Return None: nothing is off in another way so that it could be heard better."""
        return None

    def hearing(self, target: Target) -> Hearing:
        return audible.hearing(target)

    def heard(self, target: Target, since: datetime) -> Sequence[Caller] | Gap:
        """Return what the project's audit logs tell of calls with a target since it was turned off."""
        try:
            return audible.heard(self._calls, target, since)
        except CannotSee as fault:
            return acts.gap(target, fault.reason)

    def powers(self) -> Iterator[Power]:
        """Yield what the reader and the remediator may do in this scope, of what is ever asked of them."""
        acting = None if self._acting is self._calls else self._acting
        actions = [need.action for need in (*self.disable_permissions, *self.rotate_permissions)]
        try:
            yield from own_power.powers(self._calls, acting, actions, self._known_scope())
        except CannotSee as fault:
            yield Power(purpose="reads", principal="", own_role=True, unseen=fault.reason)
        finally:
            for calls in filter(None, (self._calls, acting)):
                calls.close()

    def itself(self) -> Sequence[str]:
        """Return the accounts that this program reads and acts as; of ambient credentials that tell none, nothing."""
        emails: list[str] = []
        for calls in (self._calls, self._acting):
            try:
                emails.append(calls.acts_as())
            except CannotSee:
                continue
            finally:
                calls.close()
        return [f"serviceAccount:{email}" for email in dict.fromkeys(filter(None, emails))]

    def disable(self, target: Target) -> None:
        acts.switch(self._acting, self._calls, target, CredentialStatus.INACTIVE)

    def enable(self, target: Target) -> None:
        acts.switch(self._acting, self._calls, target, CredentialStatus.ACTIVE)

    def rotates(self, credential_kind: str) -> bool:
        return credential_kind == "service_account_key"

    def keys(self, target: Target) -> tuple[Key, ...] | Gap | None:
        return rotation.read_keys(self._calls, target)

    def prepare(self, target: Target, place: Place) -> Ready:
        return rotation.prepare(self._acting, place)

    def make(self, target: Target, place: Place, version: str, made: Callable[[str], None]) -> Stored | None:
        return rotation.make(self._acting, target, place, made)

    def stored(self, target: Target, place: Place, version: str, former: str | None) -> Stored | None:
        return rotation.stored(self._acting, place, former)

    def put_back(self, target: Target, place: Place, version: str, former: str | None) -> None:
        rotation.put_back(self._acting, place, former)

    def made_by(self, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
        return rotation.made_by(self._calls, target, key_id, acting_as, since)

    def _known_scope(self) -> str:
        if self._scope is None:
            self._scope = f"projects/{self._calls.ambient_project()}"
        return self._scope
