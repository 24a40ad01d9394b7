"""Amazon Web Services: IAM users and roles of one account.

A whole account is seen in a dozen calls: pages of GetAccountAuthorizationDetails, one credential report, one list of
service-specific credentials. Only users with a key that can matter to a finding, and whose id is not yet known, cost
a call each. The root account is out of scope: it is a person's, and IAM tells next to nothing about it.

scan.py reads the account and users.py one user; report.py and details.py make sense of answers (pure); creators.py asks
CloudTrail; acts.py turns off and on, with keys.py, services.py, console.py and roles.py, denials.py for the policies of
the last two, and trail.py, which tells who called last; rotation.py makes a second key and stores it; calls.py is the
way out to AWS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from nhi.certificate import Caller
from nhi.identity import Aspect, Credential, CredentialStatus, Evidence, Gap, Identity, Need, Permission, scope_of
from nhi.own_power import Power
from nhi.policy import Source
from nhi.policy_activity import LOOKUP, OFF, Activity, bucket_of, folder_of
from nhi.providers import Batch, Count, CredentialState, Exercised, Memory, Progress, Reading, Target
from nhi.providers.aws import (
    acts,
    analyzer,
    audible,
    lake,
    lookups,
    others,
    own_power,
    resources,
    roles,
    rotation,
    scope,
    trail_files,
)
from nhi.providers.aws.calls import Calls, CannotSee, Scope, reading
from nhi.providers.aws.creators import find_creators
from nhi.providers.aws.exercise import find_exercises
from nhi.providers.aws.scan import Scan
from nhi.providers.aws.sessions import find_uses
from nhi.rotation import Key, Place, Ready, Stored
from nhi.screaming import Hearing
from nhi.words import sentence

PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "sts:GetCallerIdentity": "tells which account this is",
        "iam:GetAccountAuthorizationDetails": "lists users and roles with tags, policies and the last use of roles",
        "iam:ListPolicies": "tells which version of AWS's own policies is in force, of those that somebody has",
        "iam:GetPolicyVersion": "tells what such a policy allows; once a version",
        "iam:GenerateCredentialReport": "asks AWS to make the credential report; changes nothing",
        "iam:GetCredentialReport": "tells each user's password and keys, and when they were used",
        "iam:ListServiceSpecificCredentials": "lists passwords for single services (CodeCommit, Keyspaces, Bedrock)",
        "iam:ListAccessKeys": "tells the id of a key that matters",
        "iam:GetAccessKeyLastUsed": "tells a key's last use, for users newer than the report and before an act",
        "iam:GetLoginProfile": "tells whether a user newer than the report has a password",
        "iam:GetUser": "tells a newer user's last sign-in, and before an act that the user is still the same",
        **{need.action: need.why for need in others.PERMISSIONS},
        "iam:SimulatePrincipalPolicy": "tells `nhi doctor` what its own roles may do; changes nothing",
        "iam:GetAccountSummary": "tells how many users and roles there are, to hold the scan against",
        "iam:GenerateServiceLastAccessedDetails": "asks when an identity last reached each service; changes nothing",
        "iam:GetServiceLastAccessedDetails": "tells when an identity last reached each service",
        "cloudtrail:LookupEvents": "tells who made a user, role or key, whose sessions use a role,"
        " what is done with them day by day, and before an act who called with it last",
    }.items()
)
ACTIVITY_PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "s3:ListBucket": "finds the trail's log files, where `activity` names a bucket",
        "s3:GetObject": "reads them",
        "kms:Decrypt": "reads them where the trail encrypts them with a key of yours",
        "cloudtrail:StartQuery": "asks CloudTrail Lake, where `activity` names an event data store",
        "cloudtrail:GetQueryResults": "reads its answers",
    }.items()
)
_SUMMARY = {"iam_user": "Users", "iam_role": "Roles"}  # kinds, and IAM's words for their number
DISABLE_PERMISSIONS = acts.PERMISSIONS


def connect(source: Source) -> Aws:
    """Open an account: the ambient one, or that of `source.role_arn`. Makes no call yet."""
    return Aws(source)


class Aws:
    """One AWS account, as every protocol of nhi/providers/__init__.py but those of Google Cloud alone."""

    name = "aws"
    permissions: Sequence[Need] = PERMISSIONS
    region_permissions: Sequence[Need] = others.REGION_PERMISSIONS  # where the source names regions
    resource_permissions: Sequence[Need] = resources.PERMISSIONS  # where the source asks for policies of resources
    analyzer_permissions: Sequence[Need] = analyzer.PERMISSIONS  # where the source names analyzers
    look_permissions: Sequence[Need] = acts.LOOK_PERMISSIONS  # the reader's, right before an act
    activity_permissions: Sequence[Need] = ACTIVITY_PERMISSIONS  # only for the trails that policy names
    disable_permissions: Sequence[Need] = DISABLE_PERMISSIONS
    rotate_permissions: Sequence[Need] = rotation.PERMISSIONS
    keys_at_most = rotation.KEYS_AT_MOST

    def __init__(self, source: Source, *, through: str | None = None) -> None:
        """`through` is a role that is taken first, where the account's own can be taken only from there."""
        self._source = source
        self._calls = Calls(source, role_arn=source.role_arn, through=through)
        self._through = through
        self._made_by_acts: Counter[str] = Counter()
        self._account: str | None = None
        self._documents: Mapping[str, Mapping[str, Any]] = {}

    @property
    def account(self) -> str:
        """The account's number; where it cannot be reached, the number in the role's ARN, or "ambient"."""
        try:
            return self._known_account()
        except CannotSee:
            return self._account_by_name()

    @property
    def activity_coverage(self) -> str:
        return sentence("clouds.aws_sees_activity")

    @property
    def api_calls(self) -> Mapping[str, int]:
        """How many requests went out, by action, retries and acts included."""
        return self._calls.made + self._made_by_acts

    @property
    def queries(self) -> Mapping[str, str]:
        return self._calls.queries

    def counts(self) -> Iterator[Count | Gap]:
        """Yield how many users and roles IAM's own summary tells of."""
        action = "iam:GetAccountSummary"
        try:
            summary = self._calls.ask(action)
            with reading(action):
                told = [(kind, word, int(summary["SummaryMap"][word])) for kind, word in _SUMMARY.items()]
        except CannotSee as fault:
            yield Gap(scope=scope_of("aws", self.account), reason=fault.reason, hides=frozenset())
            return
        finally:
            self._calls.close()
        for kind, word, number in told:
            yield Count(kind=kind, number=number, source=f"{action} {word}")

    def looks_at(self, identity: Identity) -> bool:
        return others.looked_at(identity, self._source.regions)

    def scan(
        self,
        *,
        memory: Memory,
        matters: Callable[[Identity, Credential], bool],
        now: datetime,
        shared: dict[str, Mapping[str, Any]] | None = None,
        ceilings: tuple[tuple[Permission, ...], ...] | None = None,
        along: frozenset[str] = frozenset(),
    ) -> Iterator[Identity | Gap | Progress]:
        """Yield all identities, and a gap for everything that could not be seen. A cloud's fault never raises.

        `shared` are AWS's own policies that scans of other accounts read meanwhile, and this one adds to; `ceilings`
        what the account's organisation lets it do at most (None: nobody told); `along` the accounts of the source.
        """
        try:
            account = self._known_account()
        except CannotSee as fault:
            scope = scope_of("aws", self._account_by_name())
            yield Gap(scope=scope, reason=fault.reason, hides=frozenset(Aspect))
            return
        documents = {} if shared is None else shared
        scan = Scan(
            self._calls,
            account,
            memory,
            matters,
            now,
            regions=self._source.regions,
            documents=documents,
            ceilings=ceilings,
            resources=self._source.resource_policies,
            along=along,
        )
        self._documents = documents
        try:
            yield from scan.run()
        finally:
            self._calls.close()

    @property
    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        return self._documents

    def exercises(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Exercised | Gap]:
        """Yield what these users and roles reached of the services that they may reach.

        Where the source names analyzers, what those found comes first, and IAM is asked only about the others.
        """
        told: set[str] = set()
        try:
            for found in analyzer.find_unused(self._calls, self._source.access_analyzers, identities, now):
                told |= {found.identity_key} if isinstance(found, Exercised) else set()
                yield found
            users = [one for one in identities if one.kind in _SUMMARY and one.key not in told]
            yield from find_exercises(self._calls, users, now)
        finally:
            self._calls.close()

    def creators(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        """Yield who made these identities and their credentials, as far as CloudTrail's 90 days go."""
        try:
            yield from find_creators(self._calls, self.account, identities, now)
        finally:
            self._calls.close()

    def uses(self, identities: Sequence[Identity], *, now: datetime) -> Iterator[Evidence | Gap]:
        """Yield whose sessions used these roles, as far as CloudTrail's 90 days go."""
        try:
            yield from find_uses(self._calls, self.account, identities, now)
        finally:
            self._calls.close()

    def activity(
        self, identities: Sequence[Identity], reading: Reading, limits: Activity, *, now: datetime
    ) -> Iterator[Batch | Gap]:
        """Yield what was done, from the trail that the source names; without one, by LookupEvents."""
        trail = self._source.activity or LOOKUP
        try:
            if trail == LOOKUP:
                for region in self._calls.trail_regions(limits.regions):
                    yield from lookups.read(self._calls, self.account, region, reading, limits, now)
            elif (bucket := bucket_of(trail)) is not None:
                store = trail_files.Bucket(self._calls, *bucket)
                yield from trail_files.read(store, reading, limits, now)
            elif (folder := folder_of(trail)) is not None:
                yield from trail_files.read(trail_files.Folder(folder), reading, limits, now)
            elif trail != OFF:
                yield from lake.read(self._calls, trail, reading, limits, now)
        finally:
            self._calls.close()

    def disables(self, credential_kind: str) -> bool:
        return credential_kind in acts.SWITCHED

    def sessions_of(self, credential_kind: str) -> str | None:
        return roles.SESSIONS if credential_kind == "role" else None

    def audible_kind(self, credential_kind: str) -> str | None:
        return audible.KINDS.get(credential_kind)

    def hearing(self, target: Target) -> Hearing:
        return audible.hearing(target)

    def heard(self, target: Target, since: datetime) -> Sequence[Caller] | Gap:
        """Return what CloudTrail tells of calls with a target since it was turned off."""
        try:
            return audible.heard(self._calls, target, since)
        except CannotSee as fault:
            return Gap(scope=scope_of("aws", self.account), reason=fault.reason, hides=frozenset({Aspect.USE}))

    def is_open(self, calendar: str) -> bool | Gap:
        """Whether an AWS Change Calendar (Systems Manager, given by its ARN) is open right now."""
        action, region = "ssm:GetCalendarState", calendar.split(":")[3]
        try:
            answer = self._calls.ask(action, region=region, CalendarNames=[calendar])
            with reading(action):
                return bool(answer["State"] == "OPEN")
        except CannotSee as fault:
            return Gap(scope=scope_of("aws", self.account), reason=fault.reason, hides=frozenset())

    def look(self, target: Target) -> CredentialState | Gap | None:
        return acts.look(self._calls, target)

    def disable(self, target: Target) -> None:
        self._switch(target, CredentialStatus.INACTIVE)

    def enable(self, target: Target) -> None:
        self._switch(target, CredentialStatus.ACTIVE)

    def _switch(self, target: Target, status: CredentialStatus) -> None:
        target = acts.as_called_now(self._calls, target, status)
        with self._acting(scope.of_act(target)) as acting:
            acts.switch(acting, self._calls, target, status)

    def powers(self) -> Iterator[Power]:
        """Yield what both roles may do of what is ever asked of them; the remediator is taken, and may do nothing."""
        source, remediator = self._source, None
        if source.remediator_role_arn is not None:
            role = source.remediator_role_arn
            remediator = Calls(source, role_arn=role, through=self._through, scope=scope.NOTHING)
        actions = [need.action for need in (*self.disable_permissions, *self.rotate_permissions)]
        try:
            yield from own_power.powers(self._calls, remediator, actions, (source.role_arn, source.remediator_role_arn))
        finally:
            for calls in filter(None, (self._calls, remediator)):
                calls.close()

    def itself(self) -> Sequence[str]:
        """Return the ARNs of the roles that policy names, or of whoever the ambient credentials are."""
        named = [arn for arn in (self._source.role_arn, self._source.remediator_role_arn) if arn is not None]
        if self._source.role_arn is not None:
            return named
        try:
            return [*named, own_power.caller(self._calls)]
        except CannotSee:
            return named

    def rotates(self, credential_kind: str) -> bool:
        return credential_kind == "access_key"

    def keys(self, target: Target) -> tuple[Key, ...] | Gap | None:
        return rotation.keys(self._calls, target)

    def prepare(self, target: Target, place: Place) -> Ready:
        with self._acting(scope.of_rotation(target, place)) as acting:
            return rotation.prepare(acting, place)

    def make(self, target: Target, place: Place, version: str, made: Callable[[str], None]) -> Stored | None:
        session = scope.of_rotation(target, place)
        with self._acting(session) as acting, self._acting(session, once=True) as once:
            return rotation.make(once, acting, target, place, version, made)

    def stored(self, target: Target, place: Place, version: str, former: str | None) -> Stored | None:
        with self._acting(scope.of_rotation(target, place)) as acting:
            return rotation.stored(acting, place, version)

    def put_back(self, target: Target, place: Place, version: str, former: str | None) -> None:
        with self._acting(scope.of_rotation(target, place)) as acting:
            rotation.put_back(acting, place, version, former)

    @contextmanager
    def _acting(self, session: Scope, *, once: bool = False) -> Iterator[Calls]:
        """Open the way for one act: as the remediator, narrowed to what it is about; without one, as the reader."""
        source = self._source
        if source.remediator_role_arn is not None:
            calls = Calls(source, role_arn=source.remediator_role_arn, through=self._through, once=once, scope=session)
        elif once:
            calls = Calls(source, role_arn=source.role_arn, through=self._through, once=True)
        else:
            yield self._calls
            return
        try:
            yield calls
        finally:
            calls.close()
            self._made_by_acts.update(calls.made)

    def made_by(self, target: Target, key_id: str, acting_as: str, since: datetime) -> bool | None:
        return rotation.made_by(self._calls, target, key_id, acting_as, since)

    def _known_account(self) -> str:
        if self._account is None:
            answer = self._calls.ask("sts:GetCallerIdentity")
            with reading("sts:GetCallerIdentity"):
                self._account = str(answer["Account"])
        return self._account

    def _account_by_name(self) -> str:
        pieces = (self._source.role_arn or "").split(":")
        return pieces[4] if len(pieces) > 5 else "ambient"
