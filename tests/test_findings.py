"""Which rules an identity breaks, from when on, and what that means for the findings that are known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from jobs import judge
from nhi import ledger
from nhi.database import Sessions, reading
from nhi.findings import (
    Finding,
    FindingChanges,
    FindingKind,
    FindingStatus,
    Known,
    Severity,
    assess,
    matters,
    quiet_since,
    reconcile,
)
from nhi.identity import Aspect, Coverage, Credential, CredentialStatus, Custody, Gap, Identity
from nhi.policy import Policy, parse
from nhi.records import write_identity
from nhi.tables import EventRow, FindingRow, IdentityRow, new_id
from nhi.words import span
from tests.factories import NOW
from tests.strategies import (
    DAY,
    GAP_LISTS,
    IDENTITIES,
    KEY,
    POLICIES,
    TICK,
    a_gap,
    a_key,
    a_role,
    a_user,
    ago,
)

POLICY = Policy()


def broken(
    identity: Identity,
    *,
    owner_active: bool | None = True,
    gaps: Sequence[Gap] = (),
    policy: Policy = POLICY,
    now: datetime = NOW,
) -> dict[FindingKind, Finding]:
    """Return the rules that an identity breaks, by kind; by default one with an active owner."""
    found = assess(identity, owner_active=owner_active, gaps=gaps, policy=policy, now=now)
    return {finding.kind: finding for finding in found}


# -- unused ------------------------------------------------------------------------------------------------------------


def test_a_key_is_unused_after_ninety_days_and_not_before() -> None:
    user = a_user(a_key(last_used_at=ago(90)))

    assert FindingKind.UNUSED in broken(user, now=NOW)
    assert FindingKind.UNUSED not in broken(user, now=NOW - TICK)


def test_a_new_key_has_ninety_days_to_be_used_for_the_first_time() -> None:
    user = a_user(a_key(created_at=ago(90), rotated_at=ago(90), last_used_at=None))

    assert FindingKind.UNUSED in broken(user, now=NOW)
    assert FindingKind.UNUSED not in broken(user, now=NOW - TICK)


def test_a_password_set_yesterday_on_an_old_user_has_its_grace_though_nobody_tells_when_it_was_made() -> None:
    password = a_key(key="password", kind="console_password", created_at=None, rotated_at=ago(1))

    assert FindingKind.UNUSED not in broken(a_user(password, created_at=ago(2000)))
    late = broken(a_user(password, created_at=ago(2000)), now=NOW + timedelta(days=89))
    assert late[FindingKind.UNUSED].why.startswith("This console password was never used since it was last set on")


def test_a_credential_of_which_no_time_is_known_is_as_old_as_its_identity() -> None:
    timeless = a_key(created_at=None, rotated_at=None)

    assert FindingKind.UNUSED in broken(a_user(timeless, created_at=ago(90)))
    assert FindingKind.UNUSED not in broken(a_user(timeless, created_at=ago(90) + TICK))
    assert FindingKind.UNUSED not in broken(a_user(timeless, created_at=None))


def test_a_key_that_is_off_breaks_no_rule() -> None:
    assert broken(a_user(a_key(status=CredentialStatus.INACTIVE, last_used_at=ago(500)))) == {}


def test_a_used_key_is_judged_by_its_last_use_and_not_by_its_age() -> None:
    assert FindingKind.UNUSED not in broken(a_user(a_key(created_at=ago(2000), last_used_at=ago(89))))


def test_each_credential_of_a_user_is_judged_by_itself() -> None:
    used, idle = a_key(key="used", last_used_at=ago(1)), a_key(key="idle", last_used_at=ago(200))

    found = assess(a_user(used, idle), owner_active=True, gaps=(), policy=POLICY, now=NOW)

    assert [finding.credential_key for finding in found if finding.kind is FindingKind.UNUSED] == ["idle"]


def test_unused_since_is_when_the_patience_ended() -> None:
    found = broken(a_user(a_key(last_used_at=ago(100))))[FindingKind.UNUSED]

    assert found.since == ago(10)
    assert found.exact


def test_a_role_is_unused_as_a_whole_when_nobody_assumed_it() -> None:
    found = broken(a_role())[FindingKind.UNUSED]

    assert found.credential_key is None
    assert "This role was not used in the 400 days that are remembered" in found.why
    assert FindingKind.UNUSED not in broken(a_role(last_used_at=ago(89)))
    assert FindingKind.UNUSED in broken(a_role(last_used_at=ago(90)))


def test_a_user_without_credentials_cannot_be_unused() -> None:
    assert broken(a_user()) == {}


def test_never_is_never() -> None:
    patient = parse({"rules": {"unused_after": "never", "unrotated_after": "never"}})

    assert broken(a_user(a_key(created_at=ago(4000), rotated_at=ago(4000))), policy=patient) == {}


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        (
            a_key(last_used_at=ago(91), last_used_service="s3"),
            "This access key was last used on 24 August 2026 (for s3), 91 days ago; policy allows 90 days.",
        ),
        (
            a_key(last_used_at=None, created_at=ago(90)),
            "This access key was never used since it was created on 25 August 2026, 90 days ago;"
            " policy allows 90 days.",
        ),
        (
            a_key(last_used_at=None, coverage=Coverage(says="", seen_from=ago(95))),
            "This access key was not used in the 95 days that are remembered; policy allows 90 days.",
        ),
    ],
)
def test_why_is_one_sentence_with_the_fact_and_the_limit(credential: Credential, words: str) -> None:
    assert broken(a_user(credential))[FindingKind.UNUSED].why == words


def test_durations_below_a_day_are_told_in_hours() -> None:
    hasty = parse({"rules": {"unused_after": "4h"}})

    why = broken(a_user(a_key(last_used_at=NOW - timedelta(hours=5))), policy=hasty)[FindingKind.UNUSED].why

    assert "5 hours ago; policy allows 4 hours." in why
    assert (span(DAY), span(2 * DAY), span(timedelta(minutes=59))) == ("1 day", "2 days", "0 hours")


# -- coverage ----------------------------------------------------------------------------------------------------------


def test_use_is_judged_up_to_where_the_source_sees_and_not_to_now() -> None:
    def user(seen_until: datetime) -> Identity:
        return a_user(a_key(last_used_at=ago(94), coverage=Coverage(says="", seen_until=seen_until)))

    assert FindingKind.UNUSED not in broken(user(ago(4) - TICK))
    assert FindingKind.UNUSED in broken(user(ago(4)))


def test_silence_before_the_source_began_to_look_does_not_count() -> None:
    def user(seen_from: datetime) -> Identity:
        return a_user(a_key(created_at=ago(1000), coverage=Coverage(says="", seen_from=seen_from)))

    assert FindingKind.UNUSED not in broken(user(ago(90) + TICK))
    assert FindingKind.UNUSED in broken(user(ago(90)))


def test_a_start_that_nobody_remembers_is_not_told_as_exact() -> None:
    assert not broken(a_role())[FindingKind.UNUSED].exact


def test_a_finding_says_what_its_source_sees_and_up_to_when() -> None:
    coverage = Coverage(says="The report sees every use.", seen_until=ago(1))

    found = broken(a_user(a_key(coverage=coverage)))[FindingKind.UNUSED]

    assert found.coverage == "The report sees every use. Seen up to 22 November 2026, 09:00 UTC."


@settings(max_examples=100, deadline=None)
@given(identity=IDENTITIES, policy=POLICIES, gaps=GAP_LISTS)
def test_a_finding_never_claims_silence_beyond_what_its_source_sees(
    identity: Identity, policy: Policy, gaps: list[Gap]
) -> None:
    for finding in assess(identity, owner_active=True, gaps=gaps, policy=policy, now=NOW):
        if finding.kind is not FindingKind.UNUSED:
            continue
        subject = next((c for c in identity.credentials if c.key == finding.credential_key), None) or identity
        began = quiet_since(subject, identity.created_at)
        seen_until = min(NOW, subject.coverage.seen_until or NOW)
        assert began is not None
        assert began >= (subject.coverage.seen_from or began)
        assert began >= (subject.last_used_at or began)
        assert finding.since == began + policy.rules.unused_after <= seen_until
        assert subject.use_gap is None
        assert not any(gap.covers(identity.scope, Aspect.USE) for gap in gaps)


# -- unrotated ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_unrotated_after_ninety_days_and_not_before() -> None:
    user = a_user(a_key(last_used_at=NOW, rotated_at=ago(90)))

    assert FindingKind.UNROTATED in broken(user, now=NOW)
    assert FindingKind.UNROTATED not in broken(user, now=NOW - TICK)


@pytest.mark.parametrize(("custody", "is_broken"), [("ours", True), ("platform", False), ("nobody", False)])
def test_only_secrets_in_our_custody_can_be_unrotated(custody: str, is_broken: bool) -> None:
    key = a_key(last_used_at=NOW, rotated_at=ago(900), custody=Custody(custody))

    assert (FindingKind.UNROTATED in broken(a_user(key))) is is_broken


def test_where_the_provider_does_not_tell_of_a_change_the_finding_does_not_claim_that_there_was_none() -> None:
    key = a_key(kind="service_specific_credential", rotated_at=None, created_at=ago(100), last_used_at=NOW)

    found = broken(a_user(key))[FindingKind.UNROTATED]

    assert found.why == (
        "This service-specific credential was made on 15 August 2026, 100 days ago, and nothing tells that its secret"
        " was changed since; policy allows 90 days."
    )
    assert "does not tell when its secret is changed" in found.coverage


def test_a_secret_of_which_no_time_is_known_is_not_called_unrotated() -> None:
    assert FindingKind.UNROTATED not in broken(a_user(a_key(rotated_at=None, created_at=None, last_used_at=NOW)))


# -- unowned -----------------------------------------------------------------------------------------------------------


def test_an_identity_is_unowned_until_somebody_active_confirms_it() -> None:
    user = a_user(tags={"owner": "ana@example.com"})

    assert set(broken(user, owner_active=None)) == {FindingKind.UNOWNED}
    assert set(broken(user, owner_active=False)) == {FindingKind.ORPHANED}
    assert set(broken(user, owner_active=True)) == set()


def test_what_is_orphaned_now_is_not_unowned_any_more_and_the_other_way_round() -> None:
    unowned, orphaned = known(FindingKind.UNOWNED, None), known(FindingKind.ORPHANED, None)

    assert changes_of(a_user(), unowned, owner_active=False).resolved == (("f1", "It is orphaned now."),)
    assert changes_of(a_user(), orphaned, owner_active=None).resolved == (("f1", "It is unowned now."),)


def test_unowned_counts_from_creation_and_orphaned_from_when_it_was_noticed() -> None:
    assert broken(a_user(), owner_active=None)[FindingKind.UNOWNED].since == ago(400)
    assert broken(a_user(created_at=None), owner_active=None)[FindingKind.UNOWNED].since == NOW
    assert broken(a_user(), owner_active=False)[FindingKind.ORPHANED].since == NOW


def test_what_the_platform_makes_for_itself_breaks_no_rule() -> None:
    assert broken(a_role(service_linked=True), owner_active=None) == {}
    assert broken(a_role(custody=Custody.PLATFORM), owner_active=None) == {}


# -- severity, tags ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("privileged", "last_used_at", "severity"),
    [
        (False, ago(100), Severity.MEDIUM),
        (False, None, Severity.HIGH),
        (True, ago(100), Severity.HIGH),
        (True, None, Severity.CRITICAL),
    ],
)
def test_unused_is_graver_where_it_is_privileged_and_where_it_never_was_needed(
    privileged: bool, last_used_at: datetime | None, severity: Severity
) -> None:
    user = a_user(a_key(last_used_at=last_used_at), privileged=privileged)

    assert broken(user)[FindingKind.UNUSED].severity is severity


@pytest.mark.parametrize(
    ("privileged", "age", "severity"),
    [
        (False, 359, Severity.LOW),
        (False, 360, Severity.MEDIUM),
        (True, 359, Severity.MEDIUM),
        (True, 360, Severity.HIGH),
    ],
)
def test_unrotated_is_graver_where_it_is_privileged_and_at_four_times_the_allowed_age(
    privileged: bool, age: int, severity: Severity
) -> None:
    user = a_user(a_key(last_used_at=NOW, rotated_at=ago(age)), privileged=privileged)

    assert broken(user)[FindingKind.UNROTATED].severity is severity


@pytest.mark.parametrize(
    ("privileged", "owner_active", "severity"),
    [
        (False, None, Severity.LOW),
        (True, None, Severity.MEDIUM),
        (False, False, Severity.MEDIUM),
        (True, False, Severity.HIGH),
    ],
)
def test_unowned_is_graver_where_it_is_privileged_and_where_its_owner_has_left(
    privileged: bool, owner_active: bool | None, severity: Severity
) -> None:
    [found] = broken(a_user(privileged=privileged), owner_active=owner_active).values()

    assert found.severity is severity


def test_findings_carry_the_owasp_tag_that_their_evidence_shows() -> None:
    found = broken(a_user(a_key()), owner_active=None) | broken(a_user(), owner_active=False)

    assert {kind.value: finding.owasp for kind, finding in found.items()} == {
        "unused": "NHI1",
        "unowned": "NHI1",
        "orphaned": "NHI1",
        "unrotated": "NHI7",
    }


def test_a_credential_matters_when_it_breaks_a_rule_of_its_own() -> None:
    quiet, busy = a_key(), a_key(last_used_at=NOW, rotated_at=NOW)

    assert matters(a_user(quiet), quiet, POLICY, NOW)
    assert not matters(a_user(busy), busy, POLICY, NOW)


# -- gaps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "hidden"),
    [
        ("aws/123456789012", True),
        ("aws/123456789012/iam_user", True),
        ("aws/123456789012/iam_user/ci-deploy", True),
        ("aws/123456789012/iam_user/ci", False),
        ("aws/123456789012/iam_role", False),
        ("aws/12345678901", False),
    ],
)
def test_nothing_in_the_scope_of_a_gap_on_use_is_called_unused(scope: str, hidden: bool) -> None:
    found = broken(a_user(a_key()), gaps=[a_gap(Aspect.USE, scope=scope)])

    assert (FindingKind.UNUSED not in found) is hidden


def test_a_credential_whose_own_use_could_not_be_seen_is_not_called_unused() -> None:
    assert FindingKind.UNUSED not in broken(a_user(a_key(use_gap="Throttling: iam:GetAccessKeyLastUsed")))


def test_a_credential_that_is_only_remembered_is_not_called_unrotated() -> None:
    remembered = a_user(a_key(use_gap="AccessDenied"))

    assert FindingKind.UNROTATED not in broken(remembered, gaps=[a_gap(Aspect.CREDENTIALS)])
    assert FindingKind.UNROTATED in broken(remembered, gaps=[a_gap(Aspect.USE)])


def test_a_credential_that_was_seen_beside_a_gap_is_judged() -> None:
    seen = a_user(a_key())

    assert set(broken(seen, gaps=[a_gap(Aspect.CREDENTIALS)])) == {FindingKind.UNUSED, FindingKind.UNROTATED}


# -- open, keep, resolve, reopen, expire -------------------------------------------------------------------------------


def known(kind: FindingKind = FindingKind.UNUSED, credential_key: str | None = KEY, **changes: Any) -> Known:
    values: dict[str, Any] = {"id": "f1", "status": FindingStatus.OPEN, "justified_until": None}
    return Known(kind=kind, credential_key=credential_key, **(values | changes))


def changes_of(
    identity: Identity, *before: Known, gaps: Sequence[Gap] = (), owner_active: bool | None = True, now: datetime = NOW
) -> FindingChanges:
    assessed = assess(identity, owner_active=owner_active, gaps=gaps, policy=POLICY, now=now)
    return reconcile(assessed, before, identity=identity, gaps=gaps, now=now)


IDLE = a_user(a_key(rotated_at=NOW))
BUSY = a_user(a_key(rotated_at=NOW, last_used_at=NOW))


def test_a_new_break_is_opened_once_and_then_kept() -> None:
    assert [finding.kind for finding in changes_of(IDLE).opened] == [FindingKind.UNUSED]
    again = changes_of(IDLE, known())
    assert again.opened == ()
    assert [id_ for id_, _ in again.kept] == ["f1"]


def test_a_break_that_ended_is_resolved_and_one_that_comes_back_is_opened_anew() -> None:
    assert changes_of(BUSY, known()).resolved == (("f1", "It was used since, or policy allows more now."),)
    assert [finding.kind for finding in changes_of(IDLE).opened] == [FindingKind.UNUSED]


@pytest.mark.parametrize(
    ("identity", "finding", "because"),
    [
        (a_user(), known(), "The credential is gone."),
        (a_user(a_key(status=CredentialStatus.INACTIVE)), known(), "The credential is turned off."),
        (BUSY, known(FindingKind.UNROTATED), "Its secret was rotated, or policy allows more now."),
        (BUSY, known(FindingKind.UNOWNED, None), "It has an active, confirmed owner."),
        (a_role(last_used_at=NOW), known(credential_key=None), "It was used since, or policy allows more now."),
    ],
)
def test_a_resolved_finding_says_why(identity: Identity, finding: Known, because: str) -> None:
    assert changes_of(identity, finding).resolved == (("f1", because),)


def test_a_justification_ends_at_its_hour_and_not_before() -> None:
    justified = known(status=FindingStatus.JUSTIFIED, justified_until=NOW)

    assert changes_of(IDLE, justified, now=NOW).expired == ("f1",)
    assert changes_of(IDLE, justified, now=NOW - TICK).expired == ()


def test_a_justification_ends_although_a_gap_hides_whether_the_finding_still_stands() -> None:
    justified = known(status=FindingStatus.JUSTIFIED, justified_until=NOW)

    assert changes_of(IDLE, justified, gaps=[a_gap(Aspect.USE)]).expired == ("f1",)


def test_what_is_resolved_does_not_also_expire() -> None:
    changes = changes_of(BUSY, known(status=FindingStatus.JUSTIFIED, justified_until=NOW))

    assert (len(changes.resolved), changes.expired) == (1, ())


@pytest.mark.parametrize(
    ("identity", "finding", "gap"),
    [
        (a_user(), known(), Aspect.CREDENTIALS),
        (a_user(), known(FindingKind.UNROTATED), Aspect.CREDENTIALS),
        (BUSY, known(), Aspect.USE),
        (a_user(a_key(use_gap="AccessDenied", rotated_at=NOW)), known(FindingKind.UNROTATED), Aspect.CREDENTIALS),
        (a_user(a_key(use_gap="AccessDenied")), known(), Aspect.OWNER),
        (a_role(use_gap="AccessDenied"), known(credential_key=None), Aspect.OWNER),
    ],
)
def test_nothing_that_a_gap_hides_is_resolved(identity: Identity, finding: Known, gap: Aspect) -> None:
    assert changes_of(identity, finding, gaps=[a_gap(gap)]).resolved == ()


@pytest.mark.parametrize("kind", [FindingKind.UNUSED, FindingKind.UNROTATED])
def test_a_key_that_was_seen_to_be_off_is_resolved_in_spite_of_gaps_beside_it(kind: FindingKind) -> None:
    off = a_user(a_key(status=CredentialStatus.INACTIVE))

    changes = changes_of(off, known(kind), gaps=[a_gap(Aspect.USE), a_gap(Aspect.CREDENTIALS)])

    assert changes.resolved == (("f1", "The credential is turned off."),)


@settings(max_examples=100, deadline=None)
@given(identity=IDENTITIES, policy=POLICIES, gaps=GAP_LISTS, owner_active=st.sampled_from([None, False, True]))
def test_what_was_just_assessed_is_kept_whole_and_never_opened_or_resolved_again(
    identity: Identity, policy: Policy, gaps: list[Gap], owner_active: bool | None
) -> None:
    assessed = assess(identity, owner_active=owner_active, gaps=gaps, policy=policy, now=NOW)
    before = [known(found.kind, found.credential_key, id=str(number)) for number, found in enumerate(assessed)]

    changes = reconcile(assessed, before, identity=identity, gaps=gaps, now=NOW)

    assert (changes.opened, changes.resolved, changes.expired) == ((), (), ())
    assert [finding for _, finding in changes.kept] == list(assessed)


@settings(max_examples=100, deadline=None)
@given(identity=IDENTITIES, policy=POLICIES)
def test_a_gap_over_everything_opens_and_resolves_nothing_about_use(identity: Identity, policy: Policy) -> None:
    everything = [a_gap(*Aspect)]
    assume(not identity.service_linked and identity.custody is not Custody.PLATFORM)
    before = [
        known(FindingKind.UNUSED, key, id=str(number))
        for number, key in enumerate([None, "gone", *(c.key for c in identity.credentials)])
    ]
    standing = {c.key for c in identity.credentials if c.status is CredentialStatus.ACTIVE} | {None, "gone"}

    assessed = assess(identity, owner_active=True, gaps=everything, policy=policy, now=NOW)
    changes = reconcile(assessed, before, identity=identity, gaps=everything, now=NOW)

    assert not any(finding.kind is FindingKind.UNUSED for finding in changes.opened)
    resolved = {before[int(id_)].credential_key for id_, _ in changes.resolved}
    assert not resolved & standing


# -- what a scan writes of it ------------------------------------------------------------------------------------------


def judge_now(sessions: Sessions, identity: Identity, *gaps: Gap, now: datetime = NOW) -> FindingRow | None:
    """Let a scan see this, and return the newest finding about use."""
    with sessions.begin() as session:
        row = session.scalar(select(IdentityRow)) or IdentityRow(id=new_id(), first_seen_at=now)
        session.add(row)
        write_identity(row, identity, now)
        session.flush()
        judge.judge(session, row, judge.Before(session, [row], now), gaps, POLICY, now)
    with reading(sessions) as session:
        about_use = select(FindingRow).where(FindingRow.kind == FindingKind.UNUSED)
        return session.scalar(about_use.order_by(FindingRow.opened_at.desc()).limit(1))


def told(sessions: Sessions) -> list[str]:
    with reading(sessions) as session:
        assert ledger.verify(session).first_wrong is None
        events = session.scalars(select(EventRow).order_by(EventRow.seq))
        return [event.kind for event in events if '"unused"' in event.body]


def test_a_finding_is_opened_kept_resolved_and_reopened_as_a_row_of_its_own(sessions: Sessions) -> None:
    opened = judge_now(sessions, IDLE)
    kept = judge_now(sessions, IDLE, now=NOW + DAY)
    resolved = judge_now(sessions, BUSY, now=NOW + 2 * DAY)
    again = judge_now(sessions, BUSY, now=NOW + 90 * DAY)

    assert opened is not None
    assert kept is not None
    assert resolved is not None
    assert again is not None
    assert opened.id == kept.id == resolved.id != again.id
    assert (resolved.status, resolved.resolved_at) == (FindingStatus.RESOLVED, NOW + 2 * DAY)
    assert again.status is FindingStatus.OPEN
    assert told(sessions) == ["finding.opened", "finding.resolved", "finding.reopened"]


def test_a_kept_finding_follows_the_facts_also_when_they_are_better_than_they_were(sessions: Sessions) -> None:
    judge_now(sessions, a_user(a_key(last_used_at=ago(300))))

    kept = judge_now(sessions, a_user(a_key(last_used_at=ago(290))))

    assert kept is not None
    assert kept.since == ago(200)
    assert "290 days ago" in kept.why


def test_a_start_that_nobody_remembers_stays_the_earliest_that_was_known(sessions: Sessions) -> None:
    judge_now(sessions, a_role())

    kept = judge_now(sessions, a_role(coverage=Coverage(says="", seen_from=ago(300))), now=NOW + 100 * DAY)

    assert kept is not None
    assert kept.since == ago(310)


def test_behind_a_gap_a_finding_is_left_as_it_was(sessions: Sessions) -> None:
    opened = judge_now(sessions, IDLE)

    left = judge_now(sessions, BUSY, a_gap(Aspect.USE), now=NOW + DAY)

    assert opened is not None
    assert left is not None
    assert (left.status, left.why) == (FindingStatus.OPEN, opened.why)


def test_a_justified_finding_wakes_when_its_time_is_over(sessions: Sessions) -> None:
    opened = judge_now(sessions, IDLE)
    assert opened is not None
    with sessions.begin() as session:
        row = session.get_one(FindingRow, opened.id)
        row.status, row.justified_until = FindingStatus.JUSTIFIED, NOW + DAY

    early = judge_now(sessions, IDLE, now=NOW + DAY - TICK)
    woken = judge_now(sessions, IDLE, now=NOW + DAY)

    assert early is not None
    assert woken is not None
    assert (early.status, woken.status) == (FindingStatus.JUSTIFIED, FindingStatus.OPEN)
    assert woken.justified_until is None
    assert told(sessions) == ["finding.opened", "finding.expired"]
