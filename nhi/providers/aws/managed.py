"""What AWS's own policies say: read once a version, and only of those that somebody here has.

GetAccountAuthorizationDetails would bring all of them, more than a thousand; so one list of those attached tells which
version is in force, and each version that is not known from an earlier scan, of whatever account, costs one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nhi.identity import Aspect, Gap, scope_of
from nhi.providers.aws.calls import AT_ONCE, Calls, CannotSee, reading
from nhi.providers.aws.details import Details

LIST, GET = "iam:ListPolicies", "iam:GetPolicyVersion"


class Managed:
    """The reading of AWS's own policies in one account. `read` takes what was not known before, by name and version."""

    def __init__(
        self, calls: Calls, account: str, known: Mapping[str, Mapping[str, Any]], read: dict[str, Mapping[str, Any]]
    ) -> None:
        self._calls = calls
        self._account = account
        self._known = known
        self._read = read

    def teach(self, details: Details, more: frozenset[str]) -> Iterator[Gap]:
        """Tell the details what the policies say that are attached and not yet known; yield a gap for each failure.

        `more` are policies that are not attached to anybody in this account, and asked for all the same.
        """
        wanted = {arn for arn in details.unread() | more if ":iam::aws:policy/" in arn}
        if not wanted:
            return
        try:
            versions = self._versions(wanted, attached=not more)
        except CannotSee as fault:
            yield self._gap(fault)
            return
        faults: dict[str, CannotSee] = {}
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws") as pool:
            for arn, found in zip(versions, pool.map(self._document, versions.items()), strict=True):
                if isinstance(found, CannotSee):
                    faults[found.reason] = found
                else:
                    details.learn(arn, found)
        yield from (self._gap(fault) for fault in faults.values())

    def _versions(self, wanted: set[str], *, attached: bool) -> dict[str, str]:
        """Return the version in force of each wanted policy. Raises CannotSee."""
        found: dict[str, str] = {}
        with reading(LIST):
            for page in self._calls.pages(LIST, Scope="AWS", OnlyAttached=attached):
                found |= {one["Arn"]: one["DefaultVersionId"] for one in page["Policies"] if one["Arn"] in wanted}
        return found

    def _document(self, policy: tuple[str, str]) -> Mapping[str, Any] | CannotSee:
        arn, version = policy
        key = f"{arn}@{version}"
        if (known := self._known.get(key) or self._read.get(key)) is not None:
            return known
        try:
            answer = self._calls.ask(GET, PolicyArn=arn, VersionId=version)
            with reading(GET):
                document: Mapping[str, Any] = answer["PolicyVersion"]["Document"]
                if not isinstance(document, Mapping):
                    raise ValueError(arn)
        except CannotSee as fault:
            return fault
        self._read[key] = document
        return document

    def _gap(self, fault: CannotSee) -> Gap:
        scope = scope_of("aws", self._account)
        return Gap(scope=scope, reason=fault.reason, hides=frozenset({Aspect.PERMISSIONS}))
