"""What is dangerous about what an identity may do, in six classes that mean the same in every cloud. Pure.

AWS's escalation paths are those that Rhino Security Labs and others have published; names are held against AWS's own
list by a test. Google's roles are classed by their names, since what a role holds is not told with a binding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nhi.globs import fits_any, within
from nhi.identity import Access, Identity, Permission
from nhi.permissions import OWN_ACCOUNT, Reach, is_allowed_at_large, names, reach, reach_of_others
from nhi.words import sentence


class Power(StrEnum):
    """A class of what an identity may do, the gravest first."""

    ADMIN = "admin"  # everything in its account or project
    ESCALATION = "escalation"  # it can give itself more
    SECRETS = "secrets"  # it can read secrets and passwords, or decrypt
    DATA_WRITE = "data_write"
    DATA_READ = "data_read"
    CROSS_ACCOUNT = "cross_account"  # it reaches into another account or project


def in_words(powers: Iterable[Power], *, either: bool = False) -> str:
    """Return powers for a sentence that begins "It may": "administer its account, read secrets and change data".

    With `either` it ends with "or".
    """
    return sentence("findings.powers", powers=list(powers), either=either)


@dataclass(frozen=True, kw_only=True)
class Held:
    """One power that an identity has. `by` are the shortest words for what gives it; `everywhere`: on all resources."""

    power: Power
    by: tuple[str, ...]
    everywhere: bool


# Each of these alone lets one take over another identity, or change one's own policies.
_WRITES_IAM = (
    *("iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion", "iam:AttachUserPolicy", "iam:AttachGroupPolicy"),
    *("iam:AttachRolePolicy", "iam:PutUserPolicy", "iam:PutGroupPolicy", "iam:PutRolePolicy", "iam:AddUserToGroup"),
    *("iam:UpdateAssumeRolePolicy", "iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:UpdateLoginProfile"),
    *("iam:DeleteRolePermissionsBoundary", "iam:DeleteUserPermissionsBoundary"),
)
# Each of these together with iam:PassRole runs code as whatever role may be passed.
_RUNS_WITH_ROLE = (
    *("ec2:RunInstances", "lambda:CreateFunction", "cloudformation:CreateStack", "ecs:RunTask", "ecs:CreateService"),
    *("glue:CreateDevEndpoint", "glue:CreateJob", "glue:UpdateJob", "datapipeline:PutPipelineDefinition"),
    *("sagemaker:CreateNotebookInstance", "sagemaker:CreateTrainingJob", "sagemaker:CreateProcessingJob"),
    *("codebuild:CreateProject", "codepipeline:CreatePipeline", "states:CreateStateMachine", "batch:SubmitJob"),
    *("apprunner:CreateService", "bedrock-agentcore:CreateCodeInterpreter", "ssm:StartAutomationExecution"),
)
# Each of these runs code as a role that something else already has.
_RUNS_AS_OTHERS = (
    *("lambda:UpdateFunctionCode", "glue:UpdateDevEndpoint", "sagemaker:CreatePresignedNotebookInstanceUrl"),
    *("ssm:SendCommand", "ssm:StartSession", "ecs:ExecuteCommand", "cloudformation:UpdateStack"),
    *("codebuild:UpdateProject", "ec2-instance-connect:SendSSHPublicKey"),
)
_SECRETS = (
    *("secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue", "ssm:GetParameter", "ssm:GetParameters"),
    *("ssm:GetParametersByPath", "ssm:GetParameterHistory", "kms:Decrypt", "ec2:GetPasswordData"),
    *("redshift:GetClusterCredentials", "rds-db:connect", "sts:GetFederationToken", "chime:CreateApiKey"),
)
_READS_DATA = (
    *("s3:GetObject", "s3:GetObjectVersion", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"),
    *(
        "dynamodb:Scan",
        "dynamodb:ExportTableToPointInTime",
        "rds-data:ExecuteStatement",
        "redshift-data:GetStatementResult",
    ),
    *("sqs:ReceiveMessage", "kinesis:GetRecords", "athena:GetQueryResults", "es:ESHttpGet", "codecommit:GitPull"),
    *("ecr:BatchGetImage", "ebs:GetSnapshotBlock", "logs:GetLogEvents", "timestream:Select", "cassandra:Select"),
)
_WRITES_DATA = (
    *("s3:PutObject", "s3:DeleteObject", "s3:DeleteBucket", "dynamodb:PutItem", "dynamodb:UpdateItem"),
    *("dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:DeleteTable", "rds-data:ExecuteStatement"),
    *("rds:DeleteDBInstance", "rds:DeleteDBCluster", "redshift-data:ExecuteStatement", "sqs:SendMessage"),
    *("sqs:PurgeQueue", "kinesis:PutRecord", "es:ESHttpPost", "es:ESHttpDelete", "codecommit:GitPush"),
    *("ecr:PutImage", "ec2:DeleteSnapshot", "timestream:WriteRecords", "cassandra:Modify"),
)
AWS_ACTIONS = (*_WRITES_IAM, *_RUNS_WITH_ROLE, *_RUNS_AS_OTHERS, *_SECRETS, *_READS_DATA, *_WRITES_DATA)
# Who may do all of these, each on whatever is of its kind, may do whatever it likes.
_ADMINISTERS: Mapping[str, str] = {
    "iam:PutUserPolicy": "user",
    "iam:PutRolePolicy": "role",
    "iam:AttachRolePolicy": "role",
    "iam:CreatePolicyVersion": "policy",
}
_ANY, _ROLES = ("*",), "arn:aws:iam::*:role/*"
# Who may do these to its own name alone only gets another way in to what it has.
_MORE_OF_THE_SAME = frozenset({"iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:UpdateLoginProfile"})

# Google's basic roles: Admin, Writer and Reader, and what they were called before (Owner, Editor, Viewer). Source:
# https://cloud.google.com/iam/docs/roles-overview#basic.
_OWNERS = ("roles/admin", "roles/owner")
_EDITORS = ("roles/writer", "roles/editor")
_VIEWERS = ("roles/reader", "roles/viewer")
_WRITES_POLICIES = (  # of a project, a folder or the organisation
    *("roles/resourcemanager.projectIamAdmin", "roles/resourcemanager.folderAdmin"),
    *("roles/resourcemanager.folderIamAdmin", "roles/resourcemanager.organizationAdmin"),
)
_GOOGLE: Mapping[Power, tuple[str, ...]] = {
    Power.ADMIN: (
        *(*_OWNERS, *_EDITORS, *_WRITES_POLICIES, "roles/iam.securityAdmin"),
        *("roles/iam.organizationRoleAdmin", "roles/iam.workloadIdentityPoolAdmin"),
    ),
    Power.ESCALATION: (
        *(*_OWNERS, *_EDITORS, *_WRITES_POLICIES),
        *("roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin"),
        *("roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser"),
        *("roles/iam.securityAdmin", "roles/iam.roleAdmin", "roles/iam.organizationRoleAdmin"),
        *("roles/deploymentmanager.editor", "roles/cloudbuild.builds.editor"),
        *("roles/iam.serviceAccountOpenIdTokenCreator", "roles/iam.workloadIdentityPoolAdmin"),
    ),
    Power.SECRETS: (
        *(*_OWNERS, "roles/secretmanager.admin", "roles/secretmanager.secretAccessor"),
        *("roles/cloudkms.admin", "roles/cloudkms.cryptoKey*Decrypter*"),
    ),
    Power.DATA_WRITE: (
        *(*_OWNERS, *_EDITORS),
        *("roles/storage.admin", "roles/storage.object*Admin", "roles/storage.objectUser"),
        *("roles/storage.objectCreator", "roles/storage.legacy*Writer", "roles/storage.legacy*Owner"),
        *("roles/bigquery.admin", "roles/bigquery.data*Editor", "roles/bigquery.dataOwner", "roles/spanner.*dmin"),
        *("roles/spanner.databaseUser", "roles/cloudsql.admin", "roles/cloudsql.editor", "roles/cloudsql.client"),
        *("roles/datastore.owner", "roles/datastore.user", "roles/bigtable.admin", "roles/bigtable.user"),
        *("roles/pubsub.admin", "roles/pubsub.editor", "roles/pubsub.publisher", "roles/artifactregistry.*dmin"),
        *("roles/artifactregistry.writer",),
    ),
    Power.DATA_READ: (
        *(*_OWNERS, *_EDITORS, *_VIEWERS),
        *("roles/storage.admin", "roles/storage.object*Admin", "roles/storage.objectUser"),
        *("roles/storage.objectViewer", "roles/storage.legacy*Reader"),
        *("roles/bigquery.admin", "roles/bigquery.data*", "roles/spanner.*dmin"),
        *("roles/spanner.database*", "roles/cloudsql.*", "roles/datastore.*", "roles/bigtable.*"),
        *("roles/pubsub.admin", "roles/pubsub.editor", "roles/pubsub.subscriber", "roles/artifactregistry.*"),
        *("roles/logging.privateLogViewer",),
    ),
}
_WHOLE = ("organizations/", "folders/", "projects/")
_KMS = "cloudkms.googleapis.com/cryptoKeyVersions.useToDecrypt"
_SIGNS = ("getAccessToken", "getOpenIdToken", "implicitDelegation", "signBlob", "signJwt")
# What a role comes down to in a class: to whom all of it is denied, the role gives that power no more. A role that is
# not here (owner, editor, custom ones) gives too much to tell, and no denial takes its powers away.
ROLE_NEEDS: Mapping[Power, Mapping[str, tuple[str, ...]]] = {
    Power.ADMIN: {
        "roles/resourcemanager.projectIamAdmin": ("cloudresourcemanager.googleapis.com/projects.setIamPolicy",),
        "roles/resourcemanager.folderIamAdmin": ("cloudresourcemanager.googleapis.com/folders.setIamPolicy",),
    },
    Power.ESCALATION: {
        "roles/iam.serviceAccountUser": ("iam.googleapis.com/serviceAccounts.actAs",),
        "roles/iam.serviceAccountTokenCreator": tuple(f"iam.googleapis.com/serviceAccounts.{one}" for one in _SIGNS),
        "roles/iam.workloadIdentityUser": tuple(f"iam.googleapis.com/serviceAccounts.{one}" for one in _SIGNS[:2]),
        "roles/iam.serviceAccountOpenIdTokenCreator": (f"iam.googleapis.com/serviceAccounts.{_SIGNS[1]}",),
        "roles/iam.serviceAccountKeyAdmin": ("iam.googleapis.com/serviceAccountKeys.create",),
        "roles/resourcemanager.projectIamAdmin": ("cloudresourcemanager.googleapis.com/projects.setIamPolicy",),
        "roles/resourcemanager.folderIamAdmin": ("cloudresourcemanager.googleapis.com/folders.setIamPolicy",),
    },
    Power.SECRETS: {
        "roles/secretmanager.secretAccessor": ("secretmanager.googleapis.com/versions.access",),
        "roles/secretmanager.admin": (
            "secretmanager.googleapis.com/versions.access",
            "secretmanager.googleapis.com/secrets.setIamPolicy",
        ),
        "roles/cloudkms.cryptoKeyDecrypter": (_KMS,),
        "roles/cloudkms.cryptoKeyEncrypterDecrypter": (_KMS,),
        "roles/cloudkms.cryptoKey*DecrypterViaDelegation": (f"{_KMS}ViaDelegation",),
    },
    Power.DATA_WRITE: {
        "roles/storage.objectCreator": ("storage.googleapis.com/objects.create",),
        "roles/storage.objectUser": tuple(
            f"storage.googleapis.com/objects.{one}" for one in ("create", "delete", "update")
        ),
        "roles/pubsub.publisher": ("pubsub.googleapis.com/topics.publish",),
    },
    Power.DATA_READ: {
        "roles/storage.objectViewer": ("storage.googleapis.com/objects.get",),
        "roles/storage.objectUser": ("storage.googleapis.com/objects.get",),
        "roles/bigquery.dataViewer": ("bigquery.googleapis.com/tables.getData",),
        "roles/pubsub.subscriber": ("pubsub.googleapis.com/subscriptions.consume",),
    },
}


def powers(identity: Identity) -> tuple[Held, ...]:
    """Return the powers that an identity has, the gravest first; none where what it may do is not known."""
    if identity.access is None:
        return ()
    return held(identity.access, provider=identity.provider, account=identity.account)


def held(access: Access, *, provider: str, account: str) -> tuple[Held, ...]:
    """Return the powers that statements give, in this cloud."""
    find = _FINDERS.get(provider)
    found = () if find is None else tuple(find(access, account))
    return tuple(sorted(found, key=lambda one: list(Power).index(one.power)))


def administers(access: Access) -> bool:
    """Whether it may write the policies of an AWS account, and so do whatever it likes.

    That some are kept from it makes it no less: organisations deny everybody their own roles (`aws-controltower-*`).
    """
    return all(is_allowed_at_large(access, action, kind) for action, kind in _ADMINISTERS.items())


def _of_aws(access: Access, account: str) -> Iterator[Held]:
    if administers(access):
        yield Held(power=Power.ADMIN, by=_by(access, ("iam:PutUserPolicy",)), everywhere=True)
    yield from _escalates(access)
    for power, actions in ((Power.SECRETS, _SECRETS), (Power.DATA_WRITE, _WRITES_DATA), (Power.DATA_READ, _READS_DATA)):
        yield from _any_of(access, power, actions, reach)
    yield from _reaches_accounts(access, account)


def _any_of(
    access: Access, power: Power, actions: Iterable[str], how: Callable[[Access, str], Reach]
) -> Iterator[Held]:
    found = {action: far for action in actions if (far := how(access, action)) is not Reach.NONE}
    if found:
        yield Held(power=power, by=tuple(found), everywhere=Reach.ALL in found.values())


def _escalates(access: Access) -> Iterator[Held]:
    found = {
        action: (reach_of_others if action in _MORE_OF_THE_SAME else reach)(access, action)
        for action in (*_WRITES_IAM, *_RUNS_AS_OTHERS)
    }
    passes = reach(access, "iam:PassRole")
    if passes is not Reach.NONE:
        found |= {f"iam:PassRole + {action}": min(passes, reach(access, action)) for action in _RUNS_WITH_ROLE}
    ways = {way: far for way, far in found.items() if far is not Reach.NONE}
    if ways:
        yield Held(power=Power.ESCALATION, by=tuple(ways), everywhere=Reach.ALL in ways.values())


def _reaches_accounts(access: Access, account: str) -> Iterator[Held]:
    """Find roles of other accounts that it may assume: named ones, or any at all."""
    if reach(access, "sts:AssumeRole") is Reach.NONE:
        return
    allowed = [one for one in access.permissions if one.allows and names(one, "sts:AssumeRole")]
    resources = [resource for one in allowed for resource in (_ANY if _leaves_others(one) else one.resources)]
    others = tuple(dict.fromkeys(one for one in resources if _account_of(one, account) not in (account, "")))
    if others:
        yield Held(power=Power.CROSS_ACCOUNT, by=others, everywhere="*" in others)


def _leaves_others(permission: Permission) -> bool:
    """Whether it is about all but some, and those are not all roles that there are."""
    return bool(permission.but_resources) and not any(within(_ROLES, one) for one in permission.but_resources)


def _account_of(arn: str, own: str) -> str:
    """Return the account in an ARN; the pattern itself where it may be any, "" where there is none."""
    parts = arn.replace(OWN_ACCOUNT, own).split(":")
    return parts[4] if len(parts) > 5 else arn if arn == "*" else ""


def _by(access: Access, actions: Iterable[str]) -> tuple[str, ...]:
    """Return where it comes from: the policies that allow these actions."""
    found = [one.via for one in access.permissions if one.allows and any(names(one, action) for action in actions)]
    return tuple(dict.fromkeys(via for via in found if via))


def _of_google(access: Access, account: str) -> Iterator[Held]:
    roles = [one for one in access.permissions if one.allows]
    for power, patterns in _GOOGLE.items():
        fitting = [one for one in roles if any(fits_any(patterns, role) for role in one.actions)]
        fitting = [one for one in fitting if not _is_denied(access, power, one)]
        fitting = [one for one in fitting if any(_holds_there(power, one, place) for place in one.resources)]
        if fitting:
            yield Held(power=power, by=_roles(fitting), everywhere=any(map(_is_on_all, fitting)))
    elsewhere = [one for one in roles if any(_is_elsewhere(place, account) for place in one.resources)]
    if elsewhere:
        yield Held(power=Power.CROSS_ACCOUNT, by=_roles(elsewhere), everywhere=any(map(_is_on_all, elsewhere)))


def _holds_there(power: Power, given: Permission, place: str) -> bool:
    """Whether a role's power is one there: of one bucket or topic the owner is no administrator, and becomes nobody."""
    if power is Power.ADMIN:
        return _is_whole(place)
    if power is Power.ESCALATION and given.actions[0] in (*_OWNERS, *_EDITORS):
        return _is_whole(place) or "/serviceAccounts/" in place
    return True


def _is_denied(access: Access, power: Power, given: Permission) -> bool:
    """Whether all that a role comes down to in a class is surely denied, wherever it is given."""
    comes_down = ROLE_NEEDS.get(power, {})
    needed = next((needs for role, needs in comes_down.items() if fits_any((role,), given.actions[0])), ())
    if not needed or not access.ceilings:
        return False
    denials = [one for each in access.ceilings for one in each if not one.allows and not one.condition]
    return all(
        any(place in one.resources and names(one, action) for one in denials)
        for action in needed
        for place in given.resources
    )


def _roles(permissions: Iterable[Permission]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{one.actions[0]} on {one.resources[0]}" for one in permissions))


def _is_whole(resource: str) -> bool:
    return resource.startswith(_WHOLE) and resource.count("/") == 1


def _is_on_all(permission: Permission) -> bool:
    return not permission.condition and any(_is_whole(place) for place in permission.resources)


def _is_elsewhere(resource: str, account: str) -> bool:
    return not resource.startswith(f"projects/{account}/") and resource != f"projects/{account}"


_FINDERS: Mapping[str, Callable[[Access, str], Iterator[Held]]] = {"aws": _of_aws, "gcp": _of_google}
