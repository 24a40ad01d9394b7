"""Where code declares an identity: the one shape that Terraform, CloudFormation and Kubernetes are read into. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nhi.identity import Identity

MOST_BYTES = 1_000_000  # of one file; a longer one is no code that people wrote


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A piece of code that declares an identity, or lets something use it."""

    how: str  # "Terraform", "CloudFormation", "Kubernetes"
    address: str  # what the code calls it: "aws_iam_user.ci", "Deployment/payments"
    kind: str  # "iam_user", "iam_role", "service_account", ...
    name: str  # the identity's own name, or its address where that is all the code tells
    first_line: int  # counted from 1
    last_line: int
    account: str | None = None  # None: the code does not tell
    tags: Mapping[str, str] = field(default_factory=dict)


class Index:
    """Identities by what code can call them."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        self._known: dict[tuple[str, str], list[Identity]] = {}
        for one in identities:
            for name in {one.name, one.principal, one.key}:
                self._known.setdefault((one.kind, name), []).append(one)

    def find(self, declared: Declared) -> Identity | None:
        """Return the identity that the code declares; None: it is not known, or it could be one of several.

        Code that tells no account fits a name in any: then the name must be the only one of its kind.
        """
        found = self._known.get((declared.kind, declared.name), [])
        fitting = [one for one in found if declared.account in (None, one.account)]
        return fitting[0] if len(fitting) == 1 else None


def parts_of_arn(arn: str) -> tuple[str, str, str] | None:
    """Return (account, kind, name) of an IAM user's or role's ARN; None: it is something else."""
    pieces = arn.split(":", 5)
    if len(pieces) != 6 or pieces[0] != "arn" or pieces[2] != "iam":
        return None
    sort, _, path = pieces[5].partition("/")
    name = path.rpartition("/")[2]
    return (pieces[4], f"iam_{sort}", name) if sort in ("user", "role") and name else None
