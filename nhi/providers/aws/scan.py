"""One reading of one account: the few calls that see all of it, then the users that must be read singly."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from nhi.identity import Aspect, Coverage, Credential, CredentialStatus, Custody, Gap, Identity, Permission, scope_of
from nhi.misuse import USED_BY
from nhi.providers import Memory, Progress
from nhi.providers.aws import permission_sets
from nhi.providers.aws import resources as resources_
from nhi.providers.aws.calls import AT_ONCE, Calls, CannotSee, reading
from nhi.providers.aws.details import FILTER, Details, utc
from nhi.providers.aws.managed import Managed
from nhi.providers.aws.others import Others
from nhi.providers.aws.report import MalformedReport, Report, parse_report
from nhi.providers.aws.users import learn_ids, of_user, read_singly
from nhi.words import sentence

_POLLS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0)  # seconds before each look for a report in the making
_REPORT_NOT_YET = frozenset({"ReportInProgress", "ReportNotPresent", "ReportExpired"})
_REPORT_LASTS = timedelta(hours=4)
_ALL = frozenset({Aspect.EXISTENCE, Aspect.CREDENTIALS, Aspect.USE, Aspect.PERMISSIONS})


class Scan:
    """One reading of one account."""

    def __init__(
        self,
        calls: Calls,
        account: str,
        memory: Memory,
        matters: Callable[[Identity, Credential], bool],
        now: datetime,
        *,
        regions: Sequence[str] = (),
        documents: dict[str, Mapping[str, Any]] | None = None,
        ceilings: tuple[tuple[Permission, ...], ...] | None = None,
        resources: bool = False,
        along: frozenset[str] = frozenset(),
    ) -> None:
        """`resources`: whether policies of buckets, keys and queues are read too; `along`: the accounts that the same
        source reads."""
        self._calls = calls
        self._account = account
        self._memory = memory
        self._matters = matters
        self._now = now
        self._ceilings = ceilings
        self._regions = regions
        self._asks_resources = resources
        self._given: resources_.Given | None = None  # None: not asked for
        self._managed = Managed(calls, account, memory.documents, {} if documents is None else documents)
        self._others = Others(calls, account, regions, along)
        self._by_service: dict[str, list[Credential]] = defaultdict(list)  # service-specific ones, by user name

    def run(self) -> Iterator[Identity | Gap | Progress]:
        details = Details(self._account, self._now, self._ceilings)
        try:  # asked for first, so that AWS makes the report while the account is being read
            state: str | CannotSee = self._ask_for_report()
        except CannotSee as fault:
            state = fault
        yield from self._read_details(details)
        yield from self._others.read()
        wanted = frozenset(arn for each in self._others.sets for arn in each.documents)
        yield from self._managed.teach(details, wanted)
        yield from self._others.found
        yield from self._sets(details)
        if self._asks_resources:
            self._given, gaps = resources_.read(self._calls, self._account, self._regions)
            yield from gaps
        yield from self._read_service_credentials()
        try:
            if isinstance(state, CannotSee):
                raise state
            report = self._fetch_report(state)
        except CannotSee as fault:
            yield from self._without_report(details, fault)
        else:
            yield from self._judge(details, report)

    def _scope(self, kind: str | None = None) -> str:
        return scope_of("aws", self._account, kind)

    def _ask_for_report(self) -> str:
        """Ask AWS to make the credential report, and return its state (COMPLETE when it is there). Raises CannotSee."""
        return str(self._calls.ask("iam:GenerateCredentialReport").get("State"))

    def _fetch_report(self, state: str) -> Report:
        """Return the report, waiting for it with a back-off of a minute in all. Raises CannotSee."""
        for pause in _POLLS:
            if state != "COMPLETE":
                time.sleep(pause)
                state = self._ask_for_report()
                continue
            try:
                return self._get_report()
            except CannotSee as fault:
                if fault.code not in _REPORT_NOT_YET:
                    raise
                state = fault.code
        raise CannotSee("ReportInProgress", "iam:GenerateCredentialReport", passing=True)

    def _get_report(self) -> Report:
        action = "iam:GetCredentialReport"
        answer = self._calls.ask(action)
        made_at = answer.get("GeneratedTime", self._now)
        # A report that AWS calls complete is at most four hours old, so a time outside of these is a wrong clock.
        seen_until = min(self._now, max(self._now - _REPORT_LASTS, made_at))
        try:
            return parse_report(answer.get("Content") or b"", seen_until=seen_until)
        except MalformedReport:
            raise CannotSee("MalformedReport", action, passing=True) from None

    def _read_details(self, details: Details) -> Iterator[Gap | Progress]:
        action = "iam:GetAccountAuthorizationDetails"
        try:
            for page in self._calls.pages(action, Filter=list(FILTER)):
                with reading(action):
                    details.add(page)
                yield Progress(what="users and roles", done=len(details), total=None)
        except CannotSee as fault:
            yield Gap(scope=self._scope(), reason=fault.reason, hides=_ALL)

    def _sets(self, details: Details) -> Iterator[Identity | Gap]:
        for told in self._others.sets:
            try:
                with reading(permission_sets.PERMISSIONS[1].action):
                    found = permission_sets.identity(self._account, told, details.policy)
                yield found
            except CannotSee as fault:
                yield Gap(scope=self._scope(permission_sets.KIND), reason=fault.reason, hides=_ALL)

    def _read_service_credentials(self) -> Iterator[Gap]:
        """List the service-specific credentials of all users at once; there is no falling back to one call a user."""
        action = "iam:ListServiceSpecificCredentials"
        try:
            for page in self._calls.pages(action, AllUsers=True):
                with reading(action):
                    for one in page["ServiceSpecificCredentials"]:
                        self._by_service[one["UserName"]].append(_service_credential(one))
        except CannotSee as fault:
            # Over this one kind: access keys and passwords are seen elsewhere, and gone when they are gone.
            scope = self._scope("service_specific_credential")
            yield Gap(scope=scope, reason=fault.reason, hides=frozenset({Aspect.CREDENTIALS}))

    def _without_report(self, details: Details, fault: CannotSee) -> Iterator[Identity | Gap]:
        hidden = frozenset({Aspect.CREDENTIALS, Aspect.USE})
        yield Gap(scope=self._scope("iam_user"), reason=fault.reason, hides=hidden)
        for identity in self._marked(details):
            yield identity if identity.kind != "iam_user" else self._unread(identity, fault.reason)

    def _marked(self, details: Details) -> Iterator[Identity]:
        """Yield users and roles, roles with what runs as them."""
        for identity in details.identities():
            if self._given is not None and identity.access is not None:
                given, unread = self._given.to.get(identity.principal, ()), self._given.unread
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
                bounds = bool(given) and identity.kind == "iam_role"
                access = replace(identity.access, by_resources=given, unread_resources=unread, bounds_given=bounds)
                identity = replace(identity, access=access)
            if runs := self._others.runs.get(identity.principal):
                identity = replace(identity, tags={**identity.tags, USED_BY: ", ".join(sorted(set(runs)))})
            yield identity

    def _unread(self, user: Identity, reason: str) -> Identity:
        """Return a user whose passwords and keys are not known."""
        return replace(user, credentials=tuple(self._by_service[user.name]), use_gap=reason)

    def _judge(self, details: Details, report: Report) -> Iterator[Identity | Gap | Progress]:
        """Yield at once what is known; then, many at a time, what must be read singly."""
        to_learn: list[Identity] = []
        to_read: list[Identity] = []
        for identity in self._marked(details):
            if identity.kind != "iam_user":
                yield identity
            elif identity.name in report.malformed:
                yield from self._malformed(identity)
            elif (full := self._with_credentials(identity, report)) is None:
                to_read.append(replace(identity, credentials=tuple(self._by_service[identity.name])))
            elif self._has_key_to_learn(full):
                to_learn.append(full)
            else:
                yield full
        yield from self._read_many(to_learn, to_read)

    def _malformed(self, user: Identity) -> Iterator[Identity | Gap]:
        reason = "MalformedReport: iam:GetCredentialReport"
        yield Gap(scope=user.scope, reason=reason, hides=frozenset({Aspect.CREDENTIALS, Aspect.USE}))
        yield self._unread(user, reason)

    def _with_credentials(self, identity: Identity, report: Report) -> Identity | None:
        """Return the user with what the report knows; None: it knows nothing, or only of a namesake deleted since."""
        row = report.rows.get(identity.name)
        if row is None or row.more or row.created_at != identity.created_at:
            return None
        credentials = (*row.credentials, *self._by_service[identity.name])
        return replace(identity, credentials=tuple(self._remembered(identity, one) for one in credentials))

    def _remembered(self, identity: Identity, credential: Credential) -> Credential:
        if credential.external_id is not None:
            return credential
        if credential.kind == "console_password":
            return of_user(credential, identity)
        return replace(credential, external_id=self._memory.credential_ids.get((identity.key, credential.key)))

    def _has_key_to_learn(self, identity: Identity) -> bool:
        unknown = (one for one in identity.credentials if one.kind == "access_key" and one.external_id is None)
        return any(self._matters(identity, one) for one in unknown)

    def _read_many(self, to_learn: list[Identity], to_read: list[Identity]) -> Iterator[Identity | Gap | Progress]:
        total = len(to_learn) + len(to_read)
        if not total:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws") as pool:
            learnt = pool.map(lambda user: learn_ids(self._calls, user), to_learn)
            read = pool.map(lambda user: read_singly(self._calls, user), to_read)
            try:
                for done, one in enumerate(chain(learnt, read), start=1):
                    yield from one.gaps
                    yield one.identity
                    yield Progress(what="access keys", done=done, total=total)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # who stops listening must not wait for the rest


def _service_credential(one: Mapping[str, Any]) -> Credential:
    created_at = utc(one["CreateDate"])
    return Credential(
        key=f"service_specific_credential/{one['ServiceSpecificCredentialId']}",
        kind="service_specific_credential",
        external_id=one["ServiceSpecificCredentialId"],
        status=CredentialStatus.ACTIVE if one["Status"] == "Active" else CredentialStatus.INACTIVE,
        custody=Custody.OURS,
        created_at=created_at,
        rotated_at=None,  # ResetServiceSpecificCredential changes the secret and leaves no trace here
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_service_credential_use"),
        coverage=Coverage(says=sentence("clouds.aws_sees_service_credential")),
    )
