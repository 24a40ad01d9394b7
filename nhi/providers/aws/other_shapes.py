"""From what AWS tells of identity providers, certificates, secrets and applications to the nouns of this program: pure.

Of none of these does this program ever read the secret itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nhi.identity import Coverage, Credential, CredentialStatus, Custody, Identity
from nhi.providers.aws.details import utc
from nhi.words import sentence

Fields = Mapping[str, Any]


def _at(value: Any) -> datetime | None:
    """Return an instant in UTC; None: it is not told."""
    return utc(value) if isinstance(value, datetime) else None


def _tags(listed: Any) -> dict[str, str]:
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in listed or ()}


def oidc_provider(account: str, arn: str, told: Fields) -> Identity:
    """Return an OpenID Connect provider: whoever it vouches for may take the roles that trust it."""
    url = str(told.get("Url") or arn.partition("oidc-provider/")[2])
    audiences = {"aws:audiences": ", ".join(map(str, told.get("ClientIDList") or ()))[:250]}
    return Identity(
        provider="aws",
        kind="oidc_provider",
        account=account,
        key=arn,
        name=url.removeprefix("https://"),
        principal=arn,
        custody=Custody.NOBODY,
        created_at=_at(told.get("CreateDate")),
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_provider_use"),
        tags=_tags(told.get("Tags")) | audiences,
        coverage=Coverage(says=sentence("clouds.aws_sees_provider")),
    )


def saml_provider(account: str, told: Fields) -> Identity:
    """Return a SAML provider. Its certificate ends some day, and nobody can sign in by it then."""
    arn, ends_at = str(told["Arn"]), _at(told.get("ValidUntil"))
    return Identity(
        provider="aws",
        kind="saml_provider",
        account=account,
        key=arn,
        name=arn.rpartition("/")[2],
        principal=arn,
        custody=Custody.NOBODY,
        created_at=_at(told.get("CreateDate")),
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_provider_use"),
        tags={"aws:valid-until": f"{ends_at:%Y-%m-%d}"} if ends_at else {},
        coverage=Coverage(says=sentence("clouds.aws_sees_provider")),
    )


def server_certificate(account: str, told: Fields) -> Identity:
    """Return a certificate that IAM keeps, with its private key, for load balancers and the like."""
    uploaded_at, ends_at = _at(told.get("UploadDate")), _at(told.get("Expiration"))
    key = str(told["ServerCertificateId"])
    credential = Credential(
        key="server_certificate",
        kind="server_certificate",
        external_id=key,
        status=CredentialStatus.ACTIVE,
        custody=Custody.OURS,
        created_at=uploaded_at,
        rotated_at=uploaded_at,
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_certificate_use"),
        coverage=Coverage(says=sentence("clouds.aws_sees_certificate")),
    )
    return Identity(
        provider="aws",
        kind="server_certificate",
        account=account,
        key=key,
        name=str(told["ServerCertificateName"]),
        principal=str(told["Arn"]),
        custody=Custody.OURS,
        created_at=uploaded_at,
        last_used_at=None,
        tags={"aws:valid-until": f"{ends_at:%Y-%m-%d}"} if ends_at else {},
        credentials=(credential,),
        coverage=Coverage(says=sentence("clouds.aws_sees_certificate")),
    )


def secret(account: str, told: Fields) -> Identity:
    """Return a secret of Secrets Manager by what is told about it; its value is never read.

    One that a service of AWS's own made and rotates is the platform's.
    """
    arn, owner = str(told["ARN"]), str(told.get("OwningService") or "")
    made_at = _at(told.get("CreatedDate"))
    custody = Custody.PLATFORM if owner else Custody.OURS
    going = told.get("DeletedDate") is not None
    coverage = Coverage(says=sentence("clouds.aws_sees_secret"))
    credential = Credential(
        key="stored_secret",
        kind="stored_secret",
        external_id=arn,
        status=CredentialStatus.INACTIVE if going else CredentialStatus.ACTIVE,
        custody=custody,
        created_at=made_at,
        rotated_at=_at(told.get("LastRotatedDate")) or _at(told.get("LastChangedDate")) or made_at,
        last_used_at=_at(told.get("LastAccessedDate")),
        coverage=coverage,
    )
    marks = {"aws:region": arn.split(":")[3], "aws:rotation": "on" if told.get("RotationEnabled") else "off"}
    marks |= {"aws:owning-service": owner} if owner else {}
    return Identity(
        provider="aws",
        kind="secret",
        account=account,
        key=arn,
        name=str(told["Name"]),
        principal=arn,
        custody=custody,
        created_at=made_at,
        last_used_at=None,
        tags=_tags(told.get("Tags")) | marks,
        credentials=(credential,),
        coverage=coverage,
        service_linked=bool(owner),
    )


def trust_anchor(account: str, told: Fields) -> Identity:
    """Return a certificate authority: who holds a certificate of it may take roles."""
    arn, source = str(told["trustAnchorArn"]), told.get("source") or {}
    return Identity(
        provider="aws",
        kind="trust_anchor",
        account=account,
        key=arn,
        name=str(told["name"]),
        principal=arn,
        custody=Custody.NOBODY,
        created_at=_at(told.get("createdAt")),
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_provider_use"),
        tags={
            "aws:region": arn.split(":")[3],
            "aws:source": str(source.get("sourceType", "")),
            "aws:enabled": "yes" if told.get("enabled") else "no",
        },
        coverage=Coverage(says=sentence("clouds.aws_sees_provider")),
    )


def subject(account: str, told: Fields) -> Identity:
    """Return one certificate that took roles through Roles Anywhere."""
    arn = str(told["subjectArn"])
    made_at, seen_at = _at(told.get("createdAt")), _at(told.get("lastSeenAt"))
    coverage = Coverage(says=sentence("clouds.aws_sees_subject"))
    credential = Credential(
        key="certificate",
        kind="certificate",
        external_id=str(told["subjectId"]),
        status=CredentialStatus.ACTIVE if told.get("enabled") else CredentialStatus.INACTIVE,
        custody=Custody.OURS,
        created_at=made_at,
        rotated_at=None,  # which certificate it was is told one subject a call
        last_used_at=seen_at,
        coverage=coverage,
    )
    return Identity(
        provider="aws",
        kind="roles_anywhere_subject",
        account=account,
        key=arn,
        name=str(told.get("x509Subject") or told["subjectId"]),
        principal=arn,
        custody=Custody.OURS,
        created_at=made_at,
        last_used_at=None,
        tags={"aws:region": arn.split(":")[3]},
        credentials=(credential,),
        coverage=coverage,
    )


def application(account: str, region: str, told: Fields) -> Identity:
    """Return an application of Identity Center; one that AWS provides is the platform's."""
    arn, made_by = str(told["ApplicationArn"]), str(told.get("ApplicationProviderArn") or "")
    made_in = {"aws:account": str(told["ApplicationAccount"])} if told.get("ApplicationAccount") else {}
    own = made_by.endswith("/custom") or not made_by
    return Identity(
        provider="aws",
        kind="identity_center_application",
        account=account,
        key=arn,
        name=str(told.get("Name") or arn.rpartition("/")[2]),
        principal=arn,
        custody=Custody.NOBODY if own else Custody.PLATFORM,
        created_at=_at(told.get("CreatedDate")),
        last_used_at=None,
        use_gap=sentence("clouds.aws_no_application_use"),
        tags={"aws:region": region, "aws:status": str(told.get("Status", "")), "aws:made-by": made_by} | made_in,
        coverage=Coverage(says=sentence("clouds.aws_sees_application")),
        service_linked=not own,
    )
