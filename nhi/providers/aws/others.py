"""What else authenticates in an account: identity providers, certificates, secrets, applications, permission sets.

IAM's own lists cost one call each and are always read. What lies in regions is read in those that the source names:
secrets (never their values), Roles Anywhere, Identity Center's applications, and what runs as which role.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nhi.identity import Aspect, Gap, Identity, Need, scope_of
from nhi.providers.aws import other_shapes as shapes
from nhi.providers.aws import permission_sets
from nhi.providers.aws.calls import AT_ONCE, Calls, CannotSee, reading

PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "iam:ListOpenIDConnectProviders": "lists the identity providers (OIDC) whose identities may take roles",
        "iam:GetOpenIDConnectProvider": "tells when such a provider was set up, and its tags",
        "iam:ListSAMLProviders": "lists the identity providers (SAML)",
        "iam:ListServerCertificates": "lists the certificates that IAM keeps for servers",
    }.items()
)
REGION_PERMISSIONS = tuple(
    Need(action=action, why=why)
    for action, why in {
        "secretsmanager:ListSecrets": "lists secrets, when they were used and rotated; never what is in them",
        "rolesanywhere:ListTrustAnchors": "lists the certificate authorities that Roles Anywhere trusts",
        "rolesanywhere:ListSubjects": "lists the certificates that took roles, and when they last did",
        "sso:ListInstances": "tells whether Identity Center is there",
        "sso:ListApplications": "lists the applications of Identity Center",
        "lambda:ListFunctions": "tells which functions run as which role",
        "codebuild:ListProjects": "lists build projects",
        "codebuild:BatchGetProjects": "tells which build projects run as which role",
        "ecr:DescribeRepositoryCreationTemplates": "tells which role makes repositories",
        **{need.action: need.why for need in permission_sets.PERMISSIONS},
    }.items()
)
REGIONAL = frozenset(
    {"secret", "roles_anywhere_subject", "trust_anchor", "identity_center_application", permission_sets.KIND}
)
_ALL = frozenset({Aspect.EXISTENCE, Aspect.CREDENTIALS, Aspect.USE})
_TOGETHER = 100  # projects a call, CodeBuild's greatest

Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One thing to read: of which kind of identity it tells, and how. `hides` nothing where it only marks roles."""

    kind: str
    read: Callable[[], list[Identity]]
    hides: frozenset[Aspect] = _ALL


class Others:
    """One reading of everything else in an account. `runs` are the workloads of each role, by the role's ARN."""

    def __init__(self, calls: Calls, account: str, regions: Sequence[str], along: frozenset[str] = frozenset()) -> None:
        """`along` are the accounts that the same source reads: what is theirs is read there."""
        self._calls = calls
        self._account = account
        self._regions = regions
        self._along = along
        self.runs: dict[str, list[str]] = defaultdict(list)
        self.found: list[Identity] = []
        self._noted: list[Gap] = []  # what could not be read and hides nothing
        self.sets: list[permission_sets.Told] = []  # what they allow is told with the words of AWS's own policies

    def read(self) -> Iterator[Gap]:
        """Read everything, many calls at a time, and yield a gap for each thing that could not be seen."""
        looks = [*self._global(), *(look for region in self._regions for look in self._in(region))]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws") as pool:
            for look, told in zip(looks, pool.map(_try, looks), strict=True):
                if isinstance(told, CannotSee):
                    scope = scope_of("aws", self._account, look.kind)
                    yield Gap(scope=scope, reason=told.reason, hides=look.hides)
                else:
                    self.found += told
        yield from self._noted

    def _global(self) -> list[_Look]:
        return [
            _Look(kind="oidc_provider", read=self._oidc),
            _Look(kind="saml_provider", read=self._saml),
            _Look(kind="server_certificate", read=self._certificates),
        ]

    def _in(self, region: str) -> list[_Look]:
        nothing = frozenset({Aspect.PERMISSIONS})  # of what is known of roles it hides only what runs as them
        return [
            _Look(kind="secret", read=lambda: self._secrets(region)),
            _Look(kind="trust_anchor", read=lambda: self._anchors(region)),
            _Look(kind="roles_anywhere_subject", read=lambda: self._subjects(region)),
            _Look(kind="identity_center_application", read=lambda: self._applications(region)),
            _Look(kind=permission_sets.KIND, read=lambda: self._sets(region)),
            _Look(kind="iam_role", read=lambda: self._functions(region), hides=nothing),
            _Look(kind="iam_role", read=lambda: self._builds(region), hides=nothing),
            _Look(kind="iam_role", read=lambda: self._templates(region), hides=nothing),
        ]

    def _oidc(self) -> list[Identity]:
        list_, get = "iam:ListOpenIDConnectProviders", "iam:GetOpenIDConnectProvider"
        answer = self._calls.ask(list_)
        with reading(list_):
            arns = [str(one["Arn"]) for one in answer["OpenIDConnectProviderList"]]
        found = []
        for arn in arns:
            told = self._calls.ask(get, OpenIDConnectProviderArn=arn)
            with reading(get):
                found.append(shapes.oidc_provider(self._account, arn, told))
        return found

    def _saml(self) -> list[Identity]:
        action = "iam:ListSAMLProviders"
        answer = self._calls.ask(action)
        with reading(action):
            return [shapes.saml_provider(self._account, one) for one in answer["SAMLProviderList"]]

    def _certificates(self) -> list[Identity]:
        action = "iam:ListServerCertificates"
        with reading(action):
            return [
                shapes.server_certificate(self._account, one)
                for page in self._calls.pages(action)
                for one in page["ServerCertificateMetadataList"]
            ]

    def _secrets(self, region: str) -> list[Identity]:
        listed = self._pages("secretsmanager:ListSecrets", region, "SecretList", MaxResults=100)
        with reading("secretsmanager:ListSecrets"):
            return [shapes.secret(self._account, one) for one in listed]

    def _anchors(self, region: str) -> list[Identity]:
        action = "rolesanywhere:ListTrustAnchors"
        listed = self._pages(action, region, "trustAnchors", following="nextToken")
        with reading(action):
            return [shapes.trust_anchor(self._account, one) for one in listed]

    def _subjects(self, region: str) -> list[Identity]:
        action = "rolesanywhere:ListSubjects"
        listed = self._pages(action, region, "subjects", following="nextToken")
        with reading(action):
            return [shapes.subject(self._account, one) for one in listed]

    def _applications(self, region: str) -> list[Identity]:
        found = []
        for instance in self._instances(region):
            with reading("sso:ListInstances"):
                arn, owner = str(instance["InstanceArn"]), instance.get("OwnerAccountId")
            for one in self._applications_of(region, arn, ours=owner in (None, self._account)):
                with reading("sso:ListApplications"):
                    found.append(shapes.application(self._account, region, one))
        return found

    def _instances(self, region: str) -> list[Any]:
        """Return the instances of Identity Center to read here, also as its delegated administrator: one that an
        account owns which the same source reads is read there alone, so that what it holds is of one account."""
        action = "sso:ListInstances"
        listed = self._pages(action, region, "Instances")
        with reading(action):
            elsewhere = self._along - {self._account}
            return [one for one in listed if one.get("OwnerAccountId") not in elsewhere]

    def _applications_of(self, region: str, instance: str, *, ours: bool) -> list[Any]:
        """Return an instance's applications; of another account's, those made here where not all may be listed."""
        action, field = "sso:ListApplications", "Applications"
        try:
            return self._pages(action, region, field, InstanceArn=instance)
        except CannotSee as fault:
            if ours or fault.passing:
                raise
        own = {"ApplicationAccount": self._account}
        return self._pages(action, region, field, InstanceArn=instance, Filter=own)

    def _sets(self, region: str) -> list[Identity]:
        instances = self._instances(region)
        found, nameless = permission_sets.read(self._calls, region, instances, self._pages)
        self.sets += found
        scope = scope_of("aws", self._account, permission_sets.KIND)
        self._noted += [Gap(scope=scope, reason=reason, hides=frozenset()) for reason in sorted(nameless)]
        return []

    def _functions(self, region: str) -> list[Identity]:
        action = "lambda:ListFunctions"
        listed = self._pages(action, region, "Functions", following="NextMarker", ask="Marker")
        return self._mark(action, "lambda", region, ((one.get("Role"), one.get("FunctionName")) for one in listed))

    def _builds(self, region: str) -> list[Identity]:
        names = self._pages("codebuild:ListProjects", region, "projects", following="nextToken")
        action = "codebuild:BatchGetProjects"
        for start in range(0, len(names), _TOGETHER):
            answer = self._calls.ask(action, region=region, names=names[start : start + _TOGETHER])
            with reading(action):
                told = ((one.get("serviceRole"), one.get("name")) for one in answer["projects"])
                self._mark(action, "codebuild", region, told)
        return []

    def _templates(self, region: str) -> list[Identity]:
        action = "ecr:DescribeRepositoryCreationTemplates"
        listed = self._pages(action, region, "repositoryCreationTemplates", following="nextToken")
        return self._mark(action, "ecr", region, ((one.get("customRoleArn"), one.get("prefix")) for one in listed))

    def _mark(self, action: str, service: str, region: str, told: Iterator[tuple[Any, Any]]) -> list[Identity]:
        with reading(action):
            for role, name in told:
                if role:
                    self.runs[str(role)].append(f"{service} {name} ({region})")
        return []

    def _pages(
        self, action: str, region: str, field: str, following: str = "NextToken", ask: str | None = None, **more: Any
    ) -> list[Any]:
        """Return all of a list, page by page. Raises CannotSee, also where a page tells of the same next one again."""
        found: list[Any] = []
        seen: set[str] = set()
        while True:
            page = self._calls.ask(action, region=region, **more)
            with reading(action):
                found += page[field]
                mark = page.get(following)
            if not mark:
                return found
            if mark in seen:
                raise CannotSee("BrokenPaging", action, passing=True)
            seen.add(mark)
            more[ask or following] = mark


def _try(look: _Look) -> list[Identity] | CannotSee:
    try:
        return look.read()
    except CannotSee as fault:
        return fault


def looked_at(identity: Identity, regions: Sequence[str]) -> bool:
    """Whether a reading with these regions would see what this is: one that lies elsewhere is not gone."""
    return identity.kind not in REGIONAL or identity.tags.get("aws:region", "") in regions
