"""A policy is tried on recorded history: what it would have turned off, and what of that was used later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from nhi.backtest import Known, Replay, replay
from nhi.identity import Coverage, Credential, CredentialStatus, Custody, Identity
from nhi.policy import Policy, parse
from nhi.seasons import Pause

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def ago(days: float) -> datetime:
    return NOW - days * DAY


def known(
    name: str,
    used: float | None,
    *pauses: tuple[float, float],
    made: float = 900,
    first_seen: float = 400,
    gone: float | None = None,
    unseen: bool = False,
) -> Known:
    """Return a key with its last use and its pauses, each from and to so many days ago."""
    credential = Credential(
        key=f"access_key/{name}",
        kind="access_key",
        external_id=f"AKIA{name.upper()}",
        status=CredentialStatus.ACTIVE,
        custody=Custody.OURS,
        created_at=ago(made),
        rotated_at=ago(made),
        last_used_at=None if used is None else ago(used),
        use_gap="AccessDenied" if unseen else None,
        pauses=tuple(Pause(began_at=ago(a), ended_at=ago(b), quiet_at=ago(b)) for a, b in pauses),
    )
    identity = Identity(
        provider="aws",
        kind="iam_user",
        account="111122223333",
        key=name,
        name=name,
        principal=f"arn:aws:iam::111122223333:user/{name}",
        custody=Custody.OURS,
        created_at=ago(made),
        last_used_at=None,
        coverage=Coverage(says=""),
        credentials=(credential,),
    )
    return Known(
        identity=identity,
        credential=credential,
        first_seen_at=ago(first_seen),
        gone_at=None if gone is None else ago(gone),
    )


def run(keys: Sequence[Known], rule: str = "30d", *, days: int = 180) -> Replay:
    return replay(keys, rules(rule), since=ago(days), now=NOW)


def rules(unused_after: str) -> Policy:
    return parse({"rules": {"unused_after": unused_after}})


def names(told: Replay) -> list[str]:
    return [one.identity.name for one in told.off]


def test_what_is_unused_since_longer_than_the_rule_would_be_off_and_what_is_not_would_not() -> None:
    told = run([known("idle", 60), known("busy", 1), known("edge", 30.01), known("not-yet", 29.99)])
    assert names(told) == ["idle", "edge"]
    assert told.used_later == ()
    assert [one.off_at for one in told.off] == [ago(30), ago(0.01)]


def test_what_came_back_after_a_longer_pause_than_the_rule_was_used_later() -> None:
    told = run([known("quarterly", 5, (100, 5)), known("monthly", 2, (32, 2.5))])
    assert [(one.identity.name, one.off_at, one.used_at) for one in told.used_later] == [("quarterly", ago(70), ago(5))]
    assert names(told) == ["quarterly"]  # a pause that is as long as the rule ends with the use


def test_a_credential_is_counted_once_and_the_first_time() -> None:
    told = run([known("rare", 40, (170, 120), (110, 40))])
    assert [(one.off_at, one.used_at) for one in told.off] == [(ago(140), ago(120))]


def test_a_pause_that_was_seen_before_earns_patience_as_it_does_in_a_scan() -> None:
    assert names(run([known("quarterly", 5, (300, 210), (100, 5))], days=100)) == []
    assert names(run([known("quarterly", 5, (100, 5))], days=100)) == ["quarterly"]


def test_what_was_turned_off_before_the_window_or_is_gone_by_then_is_not_counted() -> None:
    assert names(run([known("long-idle", 400), known("gone", 60, gone=190), known("deleted", 60, gone=10)])) == [
        "deleted"
    ]


def test_a_key_that_was_never_used_has_its_grace_from_its_creation() -> None:
    assert names(run([known("new", None, made=29), known("old", None, made=31)])) == ["old"]


def test_what_cannot_be_judged_is_counted_and_not_guessed() -> None:
    told = run([known("hidden", None, unseen=True), known("idle", 60)], "7d")
    assert (told.unseen, told.judged, told.too_short) == (1, 1, 1)
    assert names(told) == ["idle"]
    assert run([], "7d").recorded_since is None


def test_never_turns_nothing_off() -> None:
    assert names(run([known("idle", 800, (500, 100))], "never")) == []
