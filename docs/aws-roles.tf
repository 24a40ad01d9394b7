# Made by `make roles` from the permissions declared beside the code; a test holds the two together.

variable "trusted_principal_arn" {
  description = "Who may take both roles: where the program runs."
  type        = string
}

variable "external_id" {
  description = "As external_id of policy.toml; may be empty."
  type        = string
  default     = ""
}

variable "break_glass_arns" {
  description = "ARNs (or patterns) kept for emergencies: nothing is ever done to them."
  type        = list(string)
  default     = []
}

variable "enable_rotation" {
  description = "Whether second access keys may be made, as [rotation] enabled of policy.toml."
  type        = bool
  default     = false
}

variable "secret_prefix" {
  description = "What the names of secrets begin with that rotation may write; never read."
  type        = string
  default     = "nhi/"
}

variable "kms_key_arns" {
  description = "ARNs of your own keys that encrypt such secrets, as kms_key of policy.toml."
  type        = list(string)
  default     = []
}

data "aws_caller_identity" "here" {}

data "aws_partition" "here" {}

locals {
  aws     = "arn:${data.aws_partition.here.partition}"
  account = data.aws_caller_identity.here.account_id
  iam     = "${local.aws}:iam::${local.account}"
  secrets = "${local.aws}:secretsmanager:*:${local.account}:secret:${var.secret_prefix}*"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.trusted_principal_arn]
    }
    dynamic "condition" {
      for_each = var.external_id == "" ? [] : [var.external_id]
      content {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [condition.value]
      }
    }
  }
}

data "aws_iam_policy_document" "reads" {
  statement {
    sid       = "Reads"
    effect    = "Allow"
    resources = ["*"]
    actions = [
      "access-analyzer:GetFindingV2",
      "access-analyzer:ListFindingsV2",
      "cloudtrail:LookupEvents",
      "codebuild:BatchGetProjects",
      "codebuild:ListProjects",
      "ecr:DescribeRepositoryCreationTemplates",
      "iam:GenerateCredentialReport",
      "iam:GenerateServiceLastAccessedDetails",
      "iam:GetAccessKeyLastUsed",
      "iam:GetAccountAuthorizationDetails",
      "iam:GetAccountSummary",
      "iam:GetCredentialReport",
      "iam:GetLoginProfile",
      "iam:GetOpenIDConnectProvider",
      "iam:GetPolicyVersion",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:GetServiceLastAccessedDetails",
      "iam:GetUser",
      "iam:GetUserPolicy",
      "iam:ListAccessKeys",
      "iam:ListAttachedRolePolicies",
      "iam:ListAttachedUserPolicies",
      "iam:ListOpenIDConnectProviders",
      "iam:ListPolicies",
      "iam:ListRolePolicies",
      "iam:ListSAMLProviders",
      "iam:ListSSHPublicKeys",
      "iam:ListServerCertificates",
      "iam:ListServiceSpecificCredentials",
      "iam:ListUserPolicies",
      "iam:SimulatePrincipalPolicy",
      "identitystore:DescribeGroup",
      "identitystore:DescribeUser",
      "kms:GetKeyPolicy",
      "kms:ListKeys",
      "lambda:ListFunctions",
      "rolesanywhere:ListSubjects",
      "rolesanywhere:ListTrustAnchors",
      "s3:GetBucketPolicy",
      "s3:ListAllMyBuckets",
      "secretsmanager:ListSecrets",
      "sqs:GetQueueAttributes",
      "sqs:ListQueues",
      "ssm:GetCalendarState",
      "sso:DescribePermissionSet",
      "sso:GetInlinePolicyForPermissionSet",
      "sso:GetPermissionsBoundaryForPermissionSet",
      "sso:ListAccountAssignments",
      "sso:ListAccountsForProvisionedPermissionSet",
      "sso:ListApplications",
      "sso:ListCustomerManagedPolicyReferencesInPermissionSet",
      "sso:ListInstances",
      "sso:ListManagedPoliciesInPermissionSet",
      "sso:ListPermissionSets",
      "sso:ListTagsForResource",
      "sts:GetCallerIdentity",
    ]
  }
}

data "aws_iam_policy_document" "acts" {
  statement {
    sid       = "Acts"
    effect    = "Allow"
    resources = ["${local.iam}:user/*", "${local.iam}:role/*"]
    actions = [
      "iam:DeleteRolePolicy",
      "iam:DeleteUserPolicy",
      "iam:PutRolePolicy",
      "iam:PutUserPolicy",
      "iam:UpdateAccessKey",
      "iam:UpdateServiceSpecificCredential",
    ]
  }
  dynamic "statement" {
    for_each = var.enable_rotation ? [1] : []
    content {
      sid       = "MakesSecondKeys"
      effect    = "Allow"
      resources = ["${local.iam}:user/*"]
      actions = [
        "iam:CreateAccessKey",
      ]
    }
  }
  dynamic "statement" {
    for_each = var.enable_rotation ? [1] : []
    content {
      sid       = "StoresThem"
      effect    = "Allow"
      resources = [local.secrets]
      actions = [
        "secretsmanager:DescribeSecret",
        "secretsmanager:CreateSecret",
        "secretsmanager:TagResource",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
        "secretsmanager:RotateSecret",
      ]
    }
  }
  dynamic "statement" {
    for_each = var.enable_rotation && length(var.kms_key_arns) > 0 ? [1] : []
    content {
      sid       = "EncryptsThem"
      effect    = "Allow"
      resources = var.kms_key_arns
      actions = [
        "kms:GenerateDataKey",
        "kms:Decrypt",
      ]
      condition {
        test     = "StringLike"
        variable = "kms:ViaService"
        values   = ["secretsmanager.*.amazonaws.com"]
      }
    }
  }
  dynamic "statement" {
    for_each = var.enable_rotation ? [] : [1]
    content {
      sid       = "NoNewKeys"
      effect    = "Deny"
      resources = ["*"]
      actions = [
        "iam:CreateAccessKey",
      ]
    }
  }
  statement {
    sid       = "NeverItself"
    effect    = "Deny"
    resources = ["${local.iam}:role/nhi-reader", "${local.iam}:role/nhi-remediator", var.trusted_principal_arn]
    actions = [
      "iam:*",
    ]
  }
  dynamic "statement" {
    for_each = length(var.break_glass_arns) > 0 ? [1] : []
    content {
      sid       = "NeverBreakGlass"
      effect    = "Deny"
      resources = var.break_glass_arns
      actions = [
        "iam:*",
      ]
    }
  }
  statement {
    sid       = "Never"
    effect    = "Deny"
    resources = ["*"]
    actions = [
      "cloudtrail:StopLogging",
      "iam:AddUserToGroup",
      "iam:AttachGroupPolicy",
      "iam:AttachRolePolicy",
      "iam:AttachUserPolicy",
      "iam:CreateLoginProfile",
      "iam:CreatePolicyVersion",
      "iam:CreateRole",
      "iam:CreateUser",
      "iam:DeleteAccessKey",
      "iam:DeleteLoginProfile",
      "iam:DeleteRole",
      "iam:DeleteRolePermissionsBoundary",
      "iam:DeleteServiceSpecificCredential",
      "iam:DeleteUser",
      "iam:DeleteUserPermissionsBoundary",
      "iam:PassRole",
      "iam:PutGroupPolicy",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateLoginProfile",
      "kms:ScheduleKeyDeletion",
      "secretsmanager:BatchGetSecretValue",
      "secretsmanager:DeleteSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutResourcePolicy",
      "sts:AssumeRole",
    ]
  }
}

resource "aws_iam_role" "reader" {
  name               = "nhi-reader"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "reads" {
  name   = "nhi-reads"
  role   = aws_iam_role.reader.id
  policy = data.aws_iam_policy_document.reads.json
}

resource "aws_iam_role" "remediator" {
  name               = "nhi-remediator"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "acts" {
  name   = "nhi-acts"
  role   = aws_iam_role.remediator.id
  policy = data.aws_iam_policy_document.acts.json
}

output "role_arn" {
  value = aws_iam_role.reader.arn
}

output "remediator_role_arn" {
  value = aws_iam_role.remediator.arn
}
