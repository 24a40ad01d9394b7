"""The two roles of an AWS account, as CloudFormation and Terraform, made from the permissions declared beside the code.

The reader only reads. The remediator acts, and is denied what it must never do, whatever else is ever attached to it:
anything on these two roles, anything on what is kept for emergencies, deleting, reading secrets, granting. A new access
key is denied, too, until rotation is switched on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from nhi.database import ROOT
from nhi.identity import Need
from nhi.providers.aws import Aws, scope

READER, REMEDIATOR = "nhi-reader", "nhi-remediator"
MADE_BY = "Made by `make roles` from the permissions declared beside the code; a test holds the two together."
NEVER = (
    *("iam:DeleteAccessKey", "iam:DeleteUser", "iam:DeleteRole", "iam:DeleteLoginProfile"),
    *("iam:DeleteServiceSpecificCredential", "iam:UpdateAssumeRolePolicy", "iam:CreateLoginProfile"),
    *("iam:UpdateLoginProfile", "iam:CreateUser", "iam:CreateRole", "iam:AttachUserPolicy", "iam:AttachRolePolicy"),
    *("iam:PutGroupPolicy", "iam:AttachGroupPolicy", "iam:AddUserToGroup", "iam:PassRole", "iam:CreatePolicyVersion"),
    *("iam:DeleteUserPermissionsBoundary", "iam:DeleteRolePermissionsBoundary", "sts:AssumeRole"),
    *("secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue", "secretsmanager:DeleteSecret"),
    *("secretsmanager:PutResourcePolicy", "kms:ScheduleKeyDeletion", "cloudtrail:StopLogging"),
)
_SECRET_ACTIONS = tuple(one.action for one in Aws.rotate_permissions if one.action.startswith("secretsmanager:"))
_KEY_ACTIONS = tuple(one.action for one in Aws.rotate_permissions if one.action.startswith("iam:"))


def reads() -> list[str]:
    """Return what the reader may do."""
    asked_for = (*Aws.region_permissions, *Aws.resource_permissions, *Aws.analyzer_permissions)
    return _actions((*Aws.permissions, *asked_for, *Aws.look_permissions))


def acts() -> list[str]:
    """Return what the remediator may do to users and roles."""
    return _actions(Aws.disable_permissions)


def _actions(permissions: Sequence[Need]) -> list[str]:
    return sorted({permission.action for permission in permissions})


# -- CloudFormation ----------------------------------------------------------------------------------------------------

Json = dict[str, Any]
_ROTATES, _HAS_BREAK_GLASS, _HAS_ID, _HAS_KEYS = "Rotates", "HasBreakGlass", "HasExternalId", "HasKmsKeys"
_ITSELF = [
    *({"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{name}"} for name in (READER, REMEDIATOR)),
    {"Ref": "TrustedPrincipalArn"},
]
_SECRETS = {"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:*:${AWS::AccountId}:secret:${SecretPrefix}*"}


def cloudformation() -> str:
    """Return the template, as YAML."""
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The roles of the NHI audit: one that reads, one that acts. {MADE_BY}",
        "Parameters": {
            "TrustedPrincipalArn": {
                "Type": "String",
                "Description": "Who may take both roles: where the program runs.",
            },
            "ExternalId": {
                "Type": "String",
                "Default": "",
                "Description": "As external_id of policy.toml; may be empty.",
            },
            "BreakGlassArns": {
                "Type": "CommaDelimitedList",
                "Default": "",
                "Description": "ARNs (or patterns) kept for emergencies: nothing is ever done to them.",
            },
            "EnableRotation": {
                "Type": "String",
                "AllowedValues": ["true", "false"],
                "Default": "false",
                "Description": "Whether second access keys may be made, as [rotation] enabled of policy.toml.",
            },
            "SecretPrefix": {
                "Type": "String",
                "Default": "nhi/",
                "Description": "What the names of secrets begin with that rotation may write; never read.",
            },
            "KmsKeyArns": {
                "Type": "CommaDelimitedList",
                "Default": "",
                "Description": "ARNs of your own keys that encrypt such secrets, as kms_key of policy.toml.",
            },
        },
        "Conditions": {
            _HAS_KEYS: {
                "Fn::And": [
                    {"Condition": _ROTATES},
                    {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "KmsKeyArns"}]}, ""]}]},
                ]
            },
            _ROTATES: {"Fn::Equals": [{"Ref": "EnableRotation"}, "true"]},
            _HAS_BREAK_GLASS: {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "BreakGlassArns"}]}, ""]}]},
            _HAS_ID: {"Fn::Not": [{"Fn::Equals": [{"Ref": "ExternalId"}, ""]}]},
        },
        "Resources": {
            "Reader": _role(READER, "nhi-reads", [_statement("Reads", "Allow", reads(), "*")]),
            "Remediator": _role(REMEDIATOR, "nhi-acts", _remediator()),
        },
        "Outputs": {
            "RoleArn": {"Value": {"Fn::GetAtt": ["Reader", "Arn"]}, "Description": "role_arn of policy.toml"},
            "RemediatorRoleArn": {
                "Value": {"Fn::GetAtt": ["Remediator", "Arn"]},
                "Description": "remediator_role_arn of policy.toml",
            },
        },
    }
    return f"# {MADE_BY}\n" + yaml.dump(template, Dumper=_Plain, sort_keys=False, width=118)


class _Plain(yaml.SafeDumper):
    """Writes no aliases: CloudFormation does not read them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _role(name: str, policy: str, statements: Sequence[Json]) -> Json:
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": name,
            "AssumeRolePolicyDocument": _document([_trust()]),
            "Policies": [{"PolicyName": policy, "PolicyDocument": _document(statements)}],
        },
    }


def _trust() -> Json:
    wanted = {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}}
    return {
        "Effect": "Allow",
        "Principal": {"AWS": {"Ref": "TrustedPrincipalArn"}},
        "Action": "sts:AssumeRole",
        "Condition": {"Fn::If": [_HAS_ID, wanted, {"Ref": "AWS::NoValue"}]},
    }


def _remediator() -> list[Json]:
    users_and_roles = [
        {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{kind}/*"} for kind in ("user", "role")
    ]
    nothing: Json = {"Ref": "AWS::NoValue"}
    keys = _statement("EncryptsThem", "Allow", scope.KMS, {"Ref": "KmsKeyArns"})
    break_glass = _statement("NeverBreakGlass", "Deny", ["iam:*"], {"Ref": "BreakGlassArns"})
    return [
        _statement("Acts", "Allow", acts(), users_and_roles),
        {"Fn::If": [_ROTATES, _statement("MakesSecondKeys", "Allow", _KEY_ACTIONS, users_and_roles[0]), nothing]},
        {"Fn::If": [_ROTATES, _statement("StoresThem", "Allow", _SECRET_ACTIONS, _SECRETS), nothing]},
        {"Fn::If": [_HAS_KEYS, keys | {"Condition": scope.VIA_SECRETS}, nothing]},
        {"Fn::If": [_ROTATES, nothing, _statement("NoNewKeys", "Deny", _KEY_ACTIONS, "*")]},
        _statement("NeverItself", "Deny", ["iam:*"], _ITSELF),
        {"Fn::If": [_HAS_BREAK_GLASS, break_glass, nothing]},
        _statement("Never", "Deny", sorted(NEVER), "*"),
    ]


def _statement(sid: str, effect: str, actions: Sequence[str], resource: object) -> Json:
    return {"Sid": sid, "Effect": effect, "Action": list(actions), "Resource": resource}


def _document(statements: Sequence[Mapping[str, Any]]) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


# -- Terraform ---------------------------------------------------------------------------------------------------------

_TERRAFORM = """\
# {made_by}

variable "trusted_principal_arn" {{
  description = "Who may take both roles: where the program runs."
  type        = string
}}

variable "external_id" {{
  description = "As external_id of policy.toml; may be empty."
  type        = string
  default     = ""
}}

variable "break_glass_arns" {{
  description = "ARNs (or patterns) kept for emergencies: nothing is ever done to them."
  type        = list(string)
  default     = []
}}

variable "enable_rotation" {{
  description = "Whether second access keys may be made, as [rotation] enabled of policy.toml."
  type        = bool
  default     = false
}}

variable "secret_prefix" {{
  description = "What the names of secrets begin with that rotation may write; never read."
  type        = string
  default     = "nhi/"
}}

variable "kms_key_arns" {{
  description = "ARNs of your own keys that encrypt such secrets, as kms_key of policy.toml."
  type        = list(string)
  default     = []
}}

data "aws_caller_identity" "here" {{}}

data "aws_partition" "here" {{}}

locals {{
  aws     = "arn:${{data.aws_partition.here.partition}}"
  account = data.aws_caller_identity.here.account_id
  iam     = "${{local.aws}}:iam::${{local.account}}"
  secrets = "${{local.aws}}:secretsmanager:*:${{local.account}}:secret:${{var.secret_prefix}}*"
}}

data "aws_iam_policy_document" "trust" {{
  statement {{
    actions = ["sts:AssumeRole"]
    principals {{
      type        = "AWS"
      identifiers = [var.trusted_principal_arn]
    }}
    dynamic "condition" {{
      for_each = var.external_id == "" ? [] : [var.external_id]
      content {{
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [condition.value]
      }}
    }}
  }}
}}

data "aws_iam_policy_document" "reads" {{
{reads}}}

data "aws_iam_policy_document" "acts" {{
{acts}}}

resource "aws_iam_role" "reader" {{
  name               = "{reader}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}}

resource "aws_iam_role_policy" "reads" {{
  name   = "nhi-reads"
  role   = aws_iam_role.reader.id
  policy = data.aws_iam_policy_document.reads.json
}}

resource "aws_iam_role" "remediator" {{
  name               = "{remediator}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}}

resource "aws_iam_role_policy" "acts" {{
  name   = "nhi-acts"
  role   = aws_iam_role.remediator.id
  policy = data.aws_iam_policy_document.acts.json
}}

output "role_arn" {{
  value = aws_iam_role.reader.arn
}}

output "remediator_role_arn" {{
  value = aws_iam_role.remediator.arn
}}
"""


def terraform() -> str:
    """Return the module, as HCL."""
    users, both = '["${local.iam}:user/*"]', '["${local.iam}:user/*", "${local.iam}:role/*"]'
    itself = f'["${{local.iam}}:role/{READER}", "${{local.iam}}:role/{REMEDIATOR}", var.trusted_principal_arn]'
    rotates, not_rotates = "var.enable_rotation ? [1] : []", "var.enable_rotation ? [] : [1]"
    keys = "var.enable_rotation && length(var.kms_key_arns) > 0 ? [1] : []"
    any_kept = "length(var.break_glass_arns) > 0 ? [1] : []"
    acting = [
        _block("Acts", "Allow", acts(), both),
        _block("MakesSecondKeys", "Allow", _KEY_ACTIONS, users, only=rotates),
        _block("StoresThem", "Allow", _SECRET_ACTIONS, "[local.secrets]", only=rotates),
        _block("EncryptsThem", "Allow", scope.KMS, "var.kms_key_arns", only=keys, condition=scope.VIA_SECRETS),
        _block("NoNewKeys", "Deny", _KEY_ACTIONS, '["*"]', only=not_rotates),
        _block("NeverItself", "Deny", ["iam:*"], itself),
        _block("NeverBreakGlass", "Deny", ["iam:*"], "var.break_glass_arns", only=any_kept),
        _block("Never", "Deny", sorted(NEVER), '["*"]'),
    ]
    return _TERRAFORM.format(
        made_by=MADE_BY,
        reads=_block("Reads", "Allow", reads(), '["*"]'),
        acts="".join(acting),
        reader=READER,
        remediator=REMEDIATOR,
    )


def _block(
    sid: str,
    effect: str,
    actions: Sequence[str],
    resources: str,
    *,
    only: str | None = None,
    condition: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> str:
    """Return one statement; `only` is the expression by which it is there once, or not at all."""
    listed = "".join(f"      {json.dumps(action)},\n" for action in actions)
    inside = (
        f'    sid       = "{sid}"\n    effect    = "{effect}"\n    resources = {resources}\n'
        f"    actions = [\n{listed}    ]\n{_conditions(condition)}"
    )
    if only is None:
        return f"  statement {{\n{inside}  }}\n"
    indented = "".join(f"  {line}\n" for line in inside.splitlines())
    return f'  dynamic "statement" {{\n    for_each = {only}\n    content {{\n{indented}    }}\n  }}\n'


def _conditions(condition: Mapping[str, Mapping[str, str]]) -> str:
    wanted = [(test, name, value) for test, values in condition.items() for name, value in values.items()]
    return "".join(
        f'    condition {{\n      test     = "{test}"\n      variable = "{name}"\n'
        f'      values   = ["{value}"]\n    }}\n'
        for test, name, value in wanted
    )


FILES = {"docs/aws-roles.yaml": cloudformation, "docs/aws-roles.tf": terraform}


def write(root: Path) -> None:
    """Write the files anew, under the project's root."""
    for name, make in FILES.items():
        (root / name).write_text(make())


if __name__ == "__main__":
    write(ROOT)
