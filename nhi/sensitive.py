"""Actions that matter most where somebody has taken over an identity: what each is for, in a few words. Pure.

After MITRE ATT&CK for cloud (persistence, privilege escalation, credential access, defence evasion, impact). An action
that is not here is judged as well, only not as heavily. Names are those of the trail, which are not always the API's.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Kept with what was found, so they stay as they are; the words for each are in templates (alarm.mrkdwn.j2).
MAKES_ACCESS = "makes new access"
RAISES = "raises permissions"
HIDES = "hides traces"
TAKES_SECRETS = "reads secrets"
OPENS = "opens data to others"
DESTROYS = "destroys"
SPENDS = "runs machines"
LOOKS_AROUND = "looks around"

_BY_MEANING: dict[str, tuple[str, ...]] = {
    MAKES_ACCESS: (
        *(
            "iam:CreateUser",
            "iam:CreateAccessKey",
            "iam:CreateLoginProfile",
            "iam:UpdateLoginProfile",
            "iam:CreateRole",
        ),
        *("iam:CreateServiceSpecificCredential", "iam:AddUserToGroup", "iam:UpdateAccessKey", "iam:CreateSAMLProvider"),
        *("iam:CreateOpenIDConnectProvider", "iam:CreateVirtualMFADevice", "iam:DeactivateMFADevice"),
        *("sts:GetFederationToken", "ec2:CreateKeyPair", "ec2:ImportKeyPair", "lambda:AddPermission"),
        *("rolesanywhere:CreateTrustAnchor", "sso:CreateAccountAssignment"),
        *("iam:google.iam.admin.v1.CreateServiceAccount", "iam:google.iam.admin.v1.CreateServiceAccountKey"),
        *("iam:google.iam.admin.v1.UploadServiceAccountKey", "iam:google.iam.admin.v1.EnableServiceAccountKey"),
        *("iamcredentials:GenerateAccessToken", "iamcredentials:SignJwt", "iamcredentials:SignBlob"),
        "apikeys:google.api.apikeys.v2.ApiKeys.CreateKey",
    ),
    RAISES: (
        *("iam:AttachUserPolicy", "iam:AttachRolePolicy", "iam:AttachGroupPolicy", "iam:PutUserPolicy"),
        *("iam:PutRolePolicy", "iam:PutGroupPolicy", "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion"),
        *("iam:UpdateAssumeRolePolicy", "iam:PassRole", "iam:DeleteUserPermissionsBoundary"),
        *("iam:DeleteRolePermissionsBoundary", "organizations:LeaveOrganization"),
        *("cloudresourcemanager:SetIamPolicy", "iam:google.iam.admin.v1.SetIAMPolicy"),
        *("iam:google.iam.admin.v1.CreateRole", "iam:google.iam.admin.v1.UpdateRole"),
    ),
    HIDES: (
        *("cloudtrail:StopLogging", "cloudtrail:DeleteTrail", "cloudtrail:UpdateTrail", "cloudtrail:PutEventSelectors"),
        *("guardduty:DeleteDetector", "guardduty:UpdateDetector", "config:StopConfigurationRecorder"),
        *("config:DeleteConfigurationRecorder", "logs:DeleteLogGroup", "logs:DeleteLogStream", "ec2:DeleteFlowLogs"),
        *("securityhub:DisableSecurityHub", "logging:google.logging.v2.ConfigServiceV2.DeleteSink"),
        *(
            "logging:google.logging.v2.ConfigServiceV2.UpdateSink",
            "logging:google.logging.v2.LoggingServiceV2.DeleteLog",
        ),
    ),
    TAKES_SECRETS: (
        *("secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue", "ssm:GetParametersByPath"),
        *("ec2:GetPasswordData", "lambda:GetFunction", "redshift:GetClusterCredentials"),
        "secretmanager:google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion",
    ),
    OPENS: (
        *("s3:PutBucketPolicy", "s3:PutBucketAcl", "s3:PutBucketReplication"),
        *("s3:DeleteBucketPublicAccessBlock", "s3:DeleteAccountPublicAccessBlock"),
        *("ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute", "rds:ModifyDBSnapshotAttribute"),
        *(
            "ec2:AuthorizeSecurityGroupIngress",
            "kms:PutKeyPolicy",
            "kms:CreateGrant",
            "storage:storage.setIamPermissions",
        ),
    ),
    DESTROYS: (
        *("s3:DeleteBucket", "s3:PutBucketLifecycle", "kms:ScheduleKeyDeletion", "kms:DisableKey"),
        *("rds:DeleteDBInstance", "rds:DeleteDBCluster", "ec2:TerminateInstances", "ec2:DeleteSnapshot"),
        *("dynamodb:DeleteTable", "backup:DeleteRecoveryPoint", "storage:storage.buckets.delete"),
    ),
    SPENDS: ("ec2:RunInstances", "ec2:RequestSpotInstances", "compute:v1.compute.instances.insert", "ecs:RunTask"),
    LOOKS_AROUND: (
        *("iam:GetAccountAuthorizationDetails", "iam:ListUsers", "iam:ListRoles", "iam:ListAccessKeys"),
        *("iam:SimulatePrincipalPolicy", "iam:ListAttachedUserPolicies", "organizations:ListAccounts"),
        *("sts:GetCallerIdentity", "s3:ListBuckets", "secretsmanager:ListSecrets", "ses:GetSendQuota"),
    ),
}
_GRAVE = frozenset({MAKES_ACCESS, RAISES, HIDES, OPENS})
_MEANING = {action: meaning for meaning, actions in _BY_MEANING.items() for action in actions}
_VERSION = re.compile(r"\d{8}(v\d+)?$")
_READS = ("Get", "List", "Describe", "Head", "Lookup", "Search", "Query", "Batch", "Scan", "View", "Check", "Test")


@lru_cache(maxsize=10_000)
def meaning_of(action: str) -> str | None:
    """Return what an action is for in the hands of somebody who took over; None: nothing much by itself.

    CloudTrail calls Lambda's by the version of its interface: lambda:GetFunction20150331v2.
    """
    return _MEANING.get(action) or _MEANING.get(_VERSION.sub("", action))


def is_grave(action: str) -> bool:
    """Whether an action makes access, raises permissions, hides traces or opens data: by itself worth a question."""
    return meaning_of(action) in _GRAVE


def is_sensitive(action: str) -> bool:
    """Whether an action makes access, raises it, hides, opens, destroys or reads secrets."""
    return meaning_of(action) not in (None, LOOKS_AROUND)


@lru_cache(maxsize=10_000)
def only_reads(action: str) -> bool:
    """Whether an action's name says that it changes nothing."""
    name = action.rpartition(":")[2].rpartition(".")[2]
    return (name[:1].upper() + name[1:]).startswith(_READS)
