"""The keys of one account, read singly: only where the inventory does not tell whose a key is (keys.list)."""

from __future__ import annotations

from dataclasses import dataclass

from nhi.providers.gcp.assets import Account, Key, read_key
from nhi.providers.gcp.calls import Calls, CannotSee, reading

ACTION = "iam.serviceAccountKeys.list"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One account's keys that are in our custody, or why they cannot be told."""

    account: Account
    keys: tuple[Key, ...] = ()
    fault: CannotSee | None = None


def ask(calls: Calls, account: Account) -> Listed:
    """List the user-managed keys of one account; never raises CannotSee, but returns it."""
    url = f"iam.googleapis.com/v1/projects/{account.project}/serviceAccounts/{account.unique_id}/keys"
    try:
        answer = calls.get(ACTION, url, keyTypes="USER_MANAGED")
        with reading(ACTION):
            found = tuple(
                read_key(str(one["name"]), {"keyType": "USER_MANAGED", **one}) for one in answer.get("keys", ())
            )
    except CannotSee as fault:
        return Listed(account=account, fault=fault)
    return Listed(account=account, keys=found)
