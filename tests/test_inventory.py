"""What changed since the scan before. Not seen is not the same as not there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.identity import Access, Aspect, Gap, Identity, Permission
from nhi.inventory import merge, reconcile, remembered
from tests.factories import NOW
from tests.strategies import GAP_LISTS, IDENTITIES, a_gap, a_key, a_role, a_user, ago

FEW = st.lists(IDENTITIES, max_size=5, unique_by=lambda identity: identity.key)


def test_what_was_not_known_appeared_and_what_was_known_is_updated() -> None:
    old, new = a_user(key="AIDAOLD"), a_user(key="AIDANEW")

    changes = reconcile([old, new], [old], ())

    assert (changes.appeared, changes.updated, changes.gone) == ((new,), (old,), ())


def test_a_namesake_of_a_deleted_user_is_another_identity() -> None:
    before, after = a_user(key="AIDAOLD"), a_user(key="AIDANEW")

    changes = reconcile([after], [before], ())

    assert (changes.appeared, changes.gone) == ((after,), (before,))


def test_an_identity_is_gone_when_its_whole_place_was_seen_without_it() -> None:
    assert reconcile([], [a_user()], ()).gone == (a_user(),)


@pytest.mark.parametrize(
    ("gap", "gone"),
    [
        (a_gap(Aspect.EXISTENCE), False),
        (a_gap(Aspect.EXISTENCE, scope="aws/123456789012/iam_user"), False),
        (a_gap(Aspect.EXISTENCE, scope="aws/123456789012/iam_user/ci-deploy"), False),
        (a_gap(Aspect.EXISTENCE, scope="aws/123456789012/iam_user/ci"), True),
        (a_gap(Aspect.EXISTENCE, scope="aws/123456789012/iam_role"), True),
        (a_gap(Aspect.EXISTENCE, scope="aws/999999999999"), True),
        (a_gap(Aspect.USE, Aspect.CREDENTIALS, Aspect.OWNER), True),
    ],
)
def test_nothing_that_a_gap_hides_is_gone(gap: Gap, gone: bool) -> None:
    assert bool(reconcile([], [a_user()], [gap]).gone) is gone


def test_a_key_id_once_learnt_stays() -> None:
    now = merge(a_user(a_key(external_id=None)), a_user(a_key(external_id="AKIALEARNT")), ())

    assert [credential.external_id for credential in now.credentials] == ["AKIALEARNT"]


def test_a_credential_that_is_not_listed_any_more_is_gone() -> None:
    assert merge(a_user(), a_user(a_key()), ()).credentials == ()


def test_a_credential_that_a_gap_may_hide_stays_with_its_use_unseen() -> None:
    [kept] = merge(a_user(), a_user(a_key()), [a_gap(Aspect.CREDENTIALS)]).credentials

    assert kept.key == a_key().key
    assert kept.use_gap == "AccessDenied: iam:ListAccessKeys"


def test_a_last_use_that_could_not_be_seen_now_stays_as_it_was_known() -> None:
    blind, used = a_key(use_gap="Throttling"), a_key(last_used_at=ago(5))

    [kept] = merge(a_user(blind), a_user(used), ()).credentials

    assert (kept.last_used_at, kept.use_gap) == (ago(5), "Throttling")
    assert merge(a_role(use_gap="Throttling"), a_role(last_used_at=ago(5)), ()).last_used_at == ago(5)


def test_a_last_use_that_was_seen_now_is_believed() -> None:
    [kept] = merge(a_user(a_key(last_used_at=NOW)), a_user(a_key(last_used_at=ago(5))), ()).credentials

    assert kept.last_used_at == NOW


@pytest.mark.parametrize(
    ("hides", "kept"),
    [({Aspect.PERMISSIONS, Aspect.CEILINGS}, True), ({Aspect.USE, Aspect.CREDENTIALS}, False)],
)
def test_what_a_gap_hides_of_permissions_is_as_it_was_known(hides: set[Aspect], kept: bool) -> None:
    limit = (Permission(allows=True, actions=("s3:*",), resources=("*",), via="boundary limits"),)
    given = (Permission(allows=True, actions=("s3:Get*",), resources=("x",), via="policy of bucket x"),)
    own = Permission(allows=True, actions=("*",), resources=("*",), via="inline own")
    before = Access(permissions=(own,), boundary=limit, by_resources=given, ceilings=(limit,))
    now = Access(permissions=(own,), unread=("boundary limits", "NewPolicy", "inline own"))

    found = remembered(now, before, a_user().scope, [a_gap(*hides)])

    untold = Access(permissions=(own,), boundary=limit, by_resources=given, ceilings=(limit,), unread=now.unread[1:])
    assert found == (untold if kept else now)


@settings(max_examples=60, deadline=None)
@given(seen=FEW, known=FEW, gaps=GAP_LISTS)
def test_every_identity_ends_in_one_place_at_most(
    seen: Sequence[Identity], known: Sequence[Identity], gaps: Sequence[Gap]
) -> None:
    changes = reconcile(seen, known, gaps)
    places = [[identity.key for identity in place] for place in (changes.appeared, changes.updated, changes.gone)]

    assert sorted([*places[0], *places[1]]) == sorted(identity.key for identity in seen)
    assert not set(places[2]) & {identity.key for identity in seen}
    hidden = {i.key for i in known if any(gap.covers(i.scope, Aspect.EXISTENCE) for gap in gaps)}
    assert not set(places[2]) & hidden


@settings(max_examples=60, deadline=None)
@given(now=IDENTITIES, before=IDENTITIES)
def test_behind_a_gap_no_credential_is_lost(now: Identity, before: Identity) -> None:
    everything = a_gap(*Aspect)

    kept = {credential.key for credential in merge(now, before, [everything]).credentials}

    assert kept == {credential.key for identity in (now, before) for credential in identity.credentials}
