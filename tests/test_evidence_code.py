"""Where code declares identities: Terraform, CloudFormation, Kubernetes, CODEOWNERS, git's own words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.evidence import cloudformation, codeowners, git, kubernetes, terraform
from nhi.evidence.declared import Declared, Index, parts_of_arn
from nhi.evidence.documents import Unreadable, documents
from tests.strategies import HOSTILE_TEXTS, a_role, a_user

TERRAFORM = """
variable "env" { default = "prod" }
locals {
  team = "payments"   # used below
}
/* resource "aws_iam_user" "commented" { name = "no" } */
resource "aws_iam_user" "ci" {
  name = "svc-${local.team}-${var.env}"
  tags = merge(local.tags, {
    Owner = "ana@example.com"
  })
}
resource "aws_iam_access_key" "ci" {
  user = aws_iam_user.ci.name
}
resource "aws_iam_role" "odd" {
  name               = "odd-${data.aws_region.here.name}"
  assume_role_policy = <<EOF
{ "Statement": "}" }
EOF
  tags = { owner = "bea", cost : "x" }
}
"""


def of_terraform(text: str) -> list[Declared]:
    return [one for _, one in terraform.declared({"main.tf": text})]


def test_terraform_tells_names_tags_and_lines_of_what_it_declares() -> None:
    user, key, role = of_terraform(TERRAFORM)

    assert (user.kind, user.name, user.address) == ("iam_user", "svc-payments-prod", "aws_iam_user.ci")
    assert (user.first_line, user.last_line, user.tags) == (7, 12, {"Owner": "ana@example.com"})
    assert (key.name, key.first_line) == ("svc-payments-prod", 13)
    assert (role.name, role.tags) == ("", {"owner": "bea", "cost": "x"}), "what the folder does not tell is not guessed"


def test_one_broken_block_does_not_hide_the_ones_before_it() -> None:
    assert [one.name for one in of_terraform('resource "aws_iam_user" "a" {\n name = "a"\n}\nresource "x" {{{ "')] == [
        "a"
    ]


def test_a_state_knows_what_expressions_came_out_as_and_in_which_module() -> None:
    attributes = {"arn": "arn:aws:iam::123456789012:role/path/odd-eu", "secret": "never read"}
    told = {
        "version": 4,
        "resources": [
            {"module": "module.a", "type": "aws_iam_role", "name": "odd", "instances": [{"attributes": attributes}]},
            {"type": "aws_s3_bucket", "name": "b", "instances": [{"attributes": {"arn": "arn:aws:s3:::b"}}]},
        ],
    }

    assert terraform.state_addresses(json.dumps(told)) == {
        ("123456789012", "iam_role", "odd-eu"): "module.a.aws_iam_role.odd"
    }
    with pytest.raises(ValueError, match="no Terraform state"):
        terraform.state_addresses("[]")


def test_cloudformation_tells_users_and_roles_with_plain_names() -> None:
    text = """
Parameters:
  Name: {Type: String, Default: ci-user}
Resources:
  User:
    Type: AWS::IAM::User
    Properties:
      UserName: !Ref Name
      Tags:
        - {Key: owner, Value: ana@example.com}
  Made:
    Type: AWS::IAM::Role
    Properties: {RoleName: !Sub "${AWS::StackName}-role"}
"""
    [user] = cloudformation.declared(text)

    assert (user.kind, user.name, user.tags) == ("iam_user", "ci-user", {"owner": "ana@example.com"})
    assert (user.first_line, user.last_line) == (6, 10)


def test_kubernetes_tells_which_service_account_acts_as_which_identity() -> None:
    text = """
kind: ServiceAccount
metadata:
  name: pay
  namespace: payments
  labels: {team: payments}
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/x/pay-role
---
kind: List
items:
  - kind: ServiceAccount
    metadata: {name: g, annotations: {iam.gke.io/gcp-service-account: a@p.iam.gserviceaccount.com}}
"""
    role, account = kubernetes.declared(text)

    assert (role.kind, role.name, role.account) == ("iam_role", "pay-role", "123456789012")
    assert (role.address, role.tags["team"]) == ("ServiceAccount/payments/pay", "payments")
    assert (account.kind, account.name) == ("service_account", "a@p.iam.gserviceaccount.com")


def test_a_document_of_aliases_of_aliases_is_too_large_and_no_crash() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(Unreadable):
        list(documents(bomb))


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("a/b.tf", ("@acme/infra", "ana@example.com")),
        ("infra/x/y/iam/z.tf", ("@bea",)),
        ("docs/page", ()),
        ("src/app.py", ("@acme/all",)),
        ("own/x/y", ("@own",)),
        ("only/x", ("@only",)),
        ("only/x/y", ("@acme/all",)),
    ],
)
def test_the_last_line_of_codeowners_that_fits_counts(path: str, owners: tuple[str, ...]) -> None:
    known = codeowners.rules(
        "# all\n* @acme/all\n*.tf @acme/infra ana@example.com # note\n/infra/**/iam/ @bea\ndocs/\n/own/** @own\n"
        "/only/* @only\n"
    )
    assert [rule.owners for rule in codeowners.owners_of(path, known)] == ([owners] if owners else [])


def test_each_section_of_gitlab_has_a_last_line_of_its_own_and_default_owners() -> None:
    known = codeowners.rules("* @all\n[Keys][2] @sec\n*.pem\n")

    assert [rule.owners for rule in codeowners.owners_of("a.pem", known)] == [("@all",), ("@sec",)]


def test_blame_tells_who_wrote_how_many_lines_and_when() -> None:
    def line(sha: str, mail: str, time: int) -> str:
        return f"{sha * 40} 1 1 1\nauthor Some One\nauthor-mail <{mail}>\nauthor-time {time}\n\tauthor-mail <evil@x>\n"

    ana, bea = git.blame(
        line("a", "Ana@example.com", 1000) + line("b", "bea@example.com", 5) + line("a", "ana@example.com", 900)
    )

    assert (ana.email, ana.count, ana.at) == ("ana@example.com", 2, datetime.fromtimestamp(1000, UTC))
    assert (bea.email, bea.count) == ("bea@example.com", 1)


def test_a_log_tells_the_latest_first_and_a_forged_time_breaks_nothing() -> None:
    found = git.log("ana@example.com\tAna\t100\nbea@example.com\tBea\t99999999999999999\nana@example.com\tAna\tx\n")

    assert [(one.email, one.count) for one in found] == [("bea@example.com", 1), ("ana@example.com", 2)]


def test_a_name_that_two_accounts_have_is_nobodys_until_the_code_tells_which() -> None:
    one, two = a_user(key="AIDA1", account="111111111111"), a_user(key="AIDA2", account="222222222222")
    index = Index([one, two, a_role(name="ci-deploy")])
    said = Declared(how="Terraform", address="x", kind="iam_user", name=one.name, first_line=1, last_line=2)

    assert index.find(said) is None
    assert index.find(replace(said, account="222222222222")) == two


@pytest.mark.parametrize("arn", ["", "arn", "arn:aws:s3:::bucket", "arn:aws:iam::1:group/x", "arn:aws:iam::1:user/"])
def test_an_arn_of_something_else_has_no_parts(arn: str) -> None:
    assert parts_of_arn(arn) is None


TEXTS = HOSTILE_TEXTS | st.text(st.sampled_from('{}[]()"#/*<-EOF$%\\\n =,:abresourc!&'), max_size=200)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_no_text_breaks_a_reader(text: str) -> None:
    of_terraform(text)
    of_terraform(f'resource "aws_iam_user" "x" {{{text}')
    codeowners.owners_of("a/b/c.tf", codeowners.rules(text))
    git.blame(text)
    git.log(text)
    for reader in (cloudformation.declared, kubernetes.declared):
        try:
            list(reader(text))
        except Unreadable:
            continue
