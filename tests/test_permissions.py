"""What an identity may do, what is dangerous about it, and the least that would do: what must always hold."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.iam.access_control import IAMPolicy, PermissionResult

from nhi import catalog, globs, powers
from nhi.identity import Access, Custody, Exercise, Identity, Permission, Trust, TrustKind
from nhi.least import least
from nhi.permissions import Reach, allows, grew, is_about, is_covered, leaves, names, new_grants, reach
from nhi.powers import Power

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SINCE = NOW - timedelta(days=90)
ACTIONS = (
    *("s3:GetObject", "s3:PutObject", "s3:ListBucket", "iam:PassRole", "iam:CreateUser", "sqs:SendMessage"),
    *("ec2:RunInstances", "ec2:DescribeInstances", "lambda:InvokeFunction", "sts:AssumeRole"),
)
PATTERNS = (
    *ACTIONS,
    "*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "iam:*",
    "ec2:*Instances",
    "*:List*",
    "s*:*",
    "sqs:Send?essage",
)
RESOURCES = ("*", "arn:aws:s3:::a", "arn:aws:s3:::a/*", "arn:aws:s3:::*", "arn:aws:iam::1:role/x?")
PLACES = ("arn:aws:s3:::a", "arn:aws:s3:::a/b", "arn:aws:s3:::c/d", "arn:aws:iam::1:role/xy")


def several(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def permissions(draw: st.DrawFn) -> Permission:
    actions, resources = draw(several(PATTERNS)), draw(several(RESOURCES))
    but_actions, but_resources = draw(st.booleans()) and draw(st.booleans()), draw(st.integers(0, 5)) == 0
    return Permission(
        allows=draw(st.integers(0, 3)) > 0,
        actions=() if but_actions else actions,
        but_actions=actions if but_actions else (),
        resources=() if but_resources else resources,
        but_resources=resources if but_resources else (),
        condition=draw(st.sampled_from(("", "", "", "c1", "c2"))),
        via=draw(st.sampled_from(("inline a", "group g, B"))),
    )


policies = st.lists(permissions(), min_size=1, max_size=5).map(tuple)
moments = st.sampled_from((None, NOW - timedelta(days=200), NOW - timedelta(days=2)))
exercises = st.builds(
    Exercise,
    services=st.dictionaries(st.sampled_from(("s3", "iam", "sqs", "ec2", "lambda", "sts")), moments),
    actions=st.dictionaries(st.sampled_from(ACTIONS), moments, max_size=4),
    seen_from=st.just(NOW - timedelta(days=400)),
    seen_until=st.just(NOW),
    source=st.just("test"),
)


def identity(access: Access, exercise: Exercise | None = None, **changes: Any) -> Identity:
    return Identity(
        provider="aws",
        kind="iam_role",
        account="1",
        key="AROA1",
        name="worker",
        principal="arn:aws:iam::1:role/worker",
        custody=Custody.NOBODY,
        created_at=NOW - timedelta(days=500),
        last_used_at=NOW,
        access=access,
        exercise=exercise,
        **changes,
    )


def allow(*actions: str, on: str = "*", condition: str = "") -> Permission:
    return Permission(allows=True, actions=actions, resources=(on,), condition=condition, via="inline a")


def deny(*actions: str, on: str = "*", condition: str = "") -> Permission:
    return replace(allow(*actions, on=on, condition=condition), allows=False)


class TestTheLeastPolicy:
    @settings(max_examples=40, deadline=None)
    @given(old=policies, exercise=exercises, conditions=st.sets(st.sampled_from(("c1", "c2"))))
    def test_it_never_grants_what_the_old_one_did_not(
        self, old: tuple[Permission, ...], exercise: Exercise, conditions: set[str]
    ) -> None:
        found = least(identity(Access(permissions=old), exercise), SINCE)
        if found is None:
            return
        assert not new_grants(old, found.permissions)
        for action in ACTIONS:
            for place in PLACES:
                if allows(found.permissions, action, place, conditions.__contains__):
                    assert allows(old, action, place, conditions.__contains__)

    @settings(max_examples=40, deadline=None)
    @given(old=policies, exercise=exercises, conditions=st.sets(st.sampled_from(("c1", "c2"))))
    def test_it_still_covers_all_use_that_was_seen_and_all_that_nothing_tells_of(
        self, old: tuple[Permission, ...], exercise: Exercise, conditions: set[str]
    ) -> None:
        found = least(identity(Access(permissions=old), exercise), SINCE)
        if found is None:
            return
        for action in ACTIONS:
            service_used = exercise.services.get(action.partition(":")[0], NOW)
            action_used = exercise.actions.get(action, NOW)
            unused = service_used is None or service_used < SINCE or action_used is None or action_used < SINCE
            if unused and action != "iam:PassRole":
                continue
            for place in PLACES:
                if allows(old, action, place, conditions.__contains__):
                    assert allows(found.permissions, action, place, conditions.__contains__)

    def test_an_administrator_who_uses_two_services_keeps_two(self) -> None:
        tracked = dict.fromkeys(catalog.services() - {"execute-api"})
        used = exercise_of(**{**tracked, "s3": NOW, "sqs": NOW, "ec2": NOW - timedelta(days=91)})
        found = least(identity(Access(permissions=(allow("*"),)), used), SINCE)
        assert found is not None
        assert found.permissions == (allow("execute-api:*", "s3:*", "sqs:*", "iam:PassRole"),)
        assert {one.power for one in found.lost} >= {Power.ADMIN, Power.ESCALATION, Power.SECRETS}

    @pytest.mark.parametrize(("days", "kept"), [(90, True), (91, False)])
    def test_a_service_used_within_what_policy_allows_is_kept_and_not_after(self, days: int, kept: bool) -> None:
        used = exercise_of(s3=NOW, sqs=NOW - timedelta(days=days))
        found = least(identity(Access(permissions=(allow("s3:*", "sqs:*"),)), used), SINCE)
        assert found is not None
        assert ("sqs" in found.kept) is kept

    def test_tracked_actions_without_use_go_and_untracked_ones_of_a_used_service_stay(self) -> None:
        used = replace(exercise_of(s3=NOW), actions={"s3:DeleteBucket": None, "s3:PutBucketPolicy": NOW})
        found = least(identity(Access(permissions=(allow("s3:*Bucket*"),)), used), SINCE)
        assert found is not None
        kept = found.permissions[0].actions
        assert "s3:DeleteBucket" not in kept
        assert {"s3:PutBucketPolicy", "s3:ListBucket"} <= set(kept)

    def test_a_service_that_nobody_tracks_stays_where_it_is_named(self) -> None:
        found = least(identity(Access(permissions=(allow("s3:*", "newthing:*"),)), exercise_of(s3=NOW)), SINCE)
        assert found is not None
        assert found.permissions == (allow("s3:*", "newthing:*"),)
        assert not found.is_narrower

    def test_passing_a_role_on_is_never_told_so_it_stays_where_it_is_named(self) -> None:
        old = (allow("ec2:RunInstances", "iam:PassRole", "iam:PutRolePolicy"),)
        found = least(identity(Access(permissions=old), exercise_of(ec2=NOW, iam=None)), SINCE)
        assert found is not None
        assert found.permissions == (allow("ec2:RunInstances", "iam:PassRole"),)

    def test_denials_stay_as_they_are(self) -> None:
        old = (allow("s3:*", "iam:*"), deny("s3:DeleteObject"))
        found = least(identity(Access(permissions=old), exercise_of(s3=NOW, iam=None)), SINCE)
        assert found is not None
        assert found.permissions == (allow("s3:*", "iam:PassRole"), deny("s3:DeleteObject"))

    @pytest.mark.parametrize(
        ("access", "exercise"),
        [
            (Access(permissions=(Permission(allows=True, actions=("*",), resources=("*",)),)), None),
            (
                Access(permissions=(Permission(allows=True, actions=("*",), resources=("*",)),)),
                Exercise(services={"s3": None}, actions={}, seen_from=SINCE, seen_until=NOW, source="x"),
            ),
            (
                Access(
                    permissions=(Permission(allows=True, actions=("*",), resources=("*",)),), unread=("inline other",)
                ),
                Exercise(services={"s3": NOW}, actions={}, seen_from=SINCE, seen_until=NOW, source="x"),
            ),
        ],
        ids=["use unknown", "nothing used", "a policy unread"],
    )
    def test_nothing_is_offered_where_it_would_be_a_guess(self, access: Access, exercise: Exercise | None) -> None:
        assert least(identity(access, exercise), SINCE) is None


def exercise_of(**services: datetime | None) -> Exercise:
    return Exercise(
        services=services, actions={}, seen_from=NOW - timedelta(days=400), seen_until=NOW, source="iam:Get…"
    )


class TestEvaluation:
    @settings(max_examples=60, deadline=None)
    @given(old=policies, action=st.sampled_from(ACTIONS), place=st.sampled_from(PLACES))
    def test_it_agrees_with_another_implementation(self, old: tuple[Permission, ...], action: str, place: str) -> None:
        unconditional = [replace(one, condition="", but_resources=(), resources=one.resources or ("*",)) for one in old]
        answers = {_moto(one, action, place) for one in unconditional}
        theirs = PermissionResult.DENIED not in answers and PermissionResult.PERMITTED in answers
        assert allows(unconditional, action, place) is theirs

    @settings(max_examples=40, deadline=None)
    @given(old=policies, boundary=st.none() | policies, action=st.sampled_from(ACTIONS), place=st.sampled_from(PLACES))
    def test_what_is_out_of_reach_is_allowed_on_no_resource(
        self, old: tuple[Permission, ...], boundary: tuple[Permission, ...] | None, action: str, place: str
    ) -> None:
        access = Access(permissions=old, boundary=boundary)
        real = allows(old, action, place) and (boundary is None or allows(boundary, action, place))
        if reach(access, action) is Reach.NONE:
            assert not (real and all(not one.condition for one in (*old, *(boundary or ()))))
        if reach(access, action) is Reach.ALL and not any(one.but_resources for one in (*old, *(boundary or ()))):
            assert allows(old, action, place, lambda _: False)

    @settings(max_examples=40, deadline=None)
    @given(
        old=policies,
        boundary=st.none() | policies,
        above=st.lists(policies, max_size=1),
        action=st.sampled_from(ACTIONS),
    )
    def test_of_what_is_allowed_something_is_always_left(
        self, old: tuple[Permission, ...], boundary: tuple[Permission, ...] | None, above: list[Any], action: str
    ) -> None:
        limits = [old, *([] if boundary is None else [boundary]), *above]
        access = Access(permissions=old, boundary=boundary, ceilings=tuple(above))
        for place in PLACES:
            if all(allows(one, action, place) for one in limits):
                given = [one for one in old if one.allows and names(one, action) and is_about(one, place)]
                assert all(leaves(access, one, place) for one in given)

    @settings(max_examples=80, deadline=None)
    @given(inner=st.text("ab*?", max_size=6), outer=st.text("ab*?", max_size=6), text=st.text("abc", max_size=6))
    def test_a_pattern_within_another_fits_nothing_that_the_other_does_not(
        self, inner: str, outer: str, text: str
    ) -> None:
        if globs.within(inner, outer) and globs.fits(inner, text):
            assert globs.fits(outer, text)
        if globs.apart(inner, outer):
            assert not (globs.fits(inner, text) and globs.fits(outer, text))

    def test_a_hostile_pattern_costs_no_time_without_end(self) -> None:
        assert not globs.fits("*a" * 60 + "b", "a" * 2000)


def _moto(one: Permission, action: str, place: str) -> PermissionResult:
    # Theirs minds the case of actions and knows no "?", otherwise than AWS.
    theirs = {"S3:getobject": "s3:GetObject", "sqs:Send?essage": "sqs:SendMessage", "arn:aws:iam::1:role/x?": PLACES[3]}
    resources = [theirs.get(place, place) for place in one.resources]
    document: dict[str, Any] = {"Effect": "Allow" if one.allows else "Deny", "Resource": resources}
    named = [theirs.get(pattern, pattern) for pattern in one.actions or one.but_actions]
    document["NotAction" if one.but_actions else "Action"] = named
    policy = IAMPolicy(json.dumps({"Version": "2012-10-17", "Statement": [document]}))
    return policy.is_action_permitted(action, place)


USERS = "arn:aws:iam::1:user"
GUARDED = (allow("*"), deny("iam:PutRolePolicy", "iam:AttachRolePolicy", on="arn:aws:iam::*:role/aws-controltower-*"))


def assume_all_but(*arns: str) -> Permission:
    return replace(allow("sts:AssumeRole"), resources=(), but_resources=arns)


class TestPowers:
    def test_every_action_that_classes_rest_on_is_one_of_aws(self) -> None:
        assert [action for action in powers.AWS_ACTIONS if catalog.level_of(action) is None] == []

    @pytest.mark.parametrize(
        ("access", "expected"),
        [
            (Access(permissions=(allow("*"),)), set(Power)),
            (Access(permissions=(allow("*"),), boundary=(allow("s3:Get*"),)), {Power.DATA_READ}),
            (Access(by_resources=(allow("kms:Decrypt", on="k"),), boundary=(allow("s3:*"),)), {Power.SECRETS}),
            (Access(by_resources=(allow("kms:Decrypt", on="k"),), boundary=(allow("s3:*"),), bounds_given=True), set()),
            (Access(by_resources=(allow("kms:Decrypt", on="k"),), permissions=(deny("kms:*"),)), set()),
            (Access(by_resources=(deny("kms:*"),), permissions=(allow("kms:Decrypt"),)), set()),
            (Access(permissions=(allow("*"), deny("iam:*", "sts:*"))), set(Power) - {Power.ADMIN, Power.CROSS_ACCOUNT}),
            (
                Access(permissions=(allow("*"), deny("iam:Put*", on="arn:aws:iam::1:role/*"))),
                set(Power) - {Power.ADMIN},
            ),
            (Access(permissions=(allow("*"),), ceilings=(GUARDED,)), set(Power)),
            (Access(permissions=(allow("*"), deny("*", condition="c1"), deny("*", on="arn:aws:s3:::a"))), set(Power)),
            (Access(permissions=(allow("s3:GetObject", on="arn:aws:s3:::a/*"),)), {Power.DATA_READ}),
            (Access(permissions=(allow("s3:PutObject"),)), {Power.DATA_WRITE}),
            (Access(permissions=(allow("iam:PassRole"),)), set()),
            (Access(permissions=(allow("iam:PassRole"), allow("lambda:CreateFunction"))), {Power.ESCALATION}),
            (Access(permissions=(allow("iam:CreateAccessKey", on=f"{USERS}/${{aws:username}}"),)), set()),
            (Access(permissions=(allow("iam:CreateAccessKey"),)), {Power.ESCALATION}),
            (Access(permissions=(allow("iam:PutUserPolicy", on=f"{USERS}/${{aws:username}}"),)), {Power.ESCALATION}),
            (
                Access(permissions=(allow("iam:CreateAccessKey", on=f"{USERS}/${{aws:PrincipalTag/team}}"),)),
                {Power.ESCALATION},
            ),
            (Access(permissions=(allow("iam:*Key", on="arn:aws:iam::${aws:PrincipalAccount}:*"),)), {Power.ESCALATION}),
            (Access(permissions=(allow("sts:AssumeRole", on="arn:aws:iam::1:role/x"),)), set()),
            (Access(permissions=(allow("sts:AssumeRole", on="arn:aws:iam::${aws:PrincipalAccount}:role/x"),)), set()),
            (Access(permissions=(assume_all_but("arn:aws:iam::1:role/x"),)), {Power.CROSS_ACCOUNT}),
            (Access(permissions=(assume_all_but("arn:aws:iam::*:*"),)), set()),
            (Access(permissions=(allow("sts:AssumeRole", on="arn:aws:iam::2:role/x"),)), {Power.CROSS_ACCOUNT}),
            (Access(permissions=(allow("secretsmanager:*"),)), {Power.SECRETS}),
        ],
    )
    def test_each_class_holds_what_it_says_and_nothing_else(self, access: Access, expected: set[Power]) -> None:
        assert {one.power for one in powers.powers(identity(access))} == expected

    @settings(max_examples=60, deadline=None)
    @given(old=policies, above=st.lists(policies, max_size=2), more=policies, denial=permissions())
    def test_a_ceiling_or_a_denial_more_never_adds_a_power(
        self,
        old: tuple[Permission, ...],
        above: list[tuple[Permission, ...]],
        more: tuple[Permission, ...],
        denial: Permission,
    ) -> None:
        def held(access: Access) -> set[tuple[Power, bool]]:
            found = powers.powers(identity(access))
            return {(one.power, far) for one in found for far in ((False, True) if one.everywhere else (False,))}

        access = Access(permissions=old, ceilings=tuple(above))
        assert held(replace(access, ceilings=(*above, more))) <= held(access) <= held(Access(permissions=old))
        assert held(replace(access, permissions=(*old, replace(denial, allows=False)))) <= held(access)
        assert not grew(access, replace(access, ceilings=(*above, more))).permissions

    def test_google_roles_are_classed_by_name_and_an_admin_of_one_bucket_is_none(self) -> None:
        def given(role: str, on: str) -> set[Power]:
            access = Access(permissions=(Permission(allows=True, actions=(role,), resources=(on,)),))
            return {one.power for one in powers.held(access, provider="gcp", account="shop")}

        for old, new in (("owner", "admin"), ("editor", "writer"), ("viewer", "reader")):
            assert given(f"roles/{new}", "projects/shop") == given(f"roles/{old}", "projects/shop") != set()
        assert Power.ADMIN in given("roles/editor", "projects/shop")
        assert given("roles/writer", "projects/shop/repos/site") == {Power.DATA_WRITE, Power.DATA_READ}
        assert Power.ESCALATION in given("roles/writer", "projects/shop/serviceAccounts/1")
        assert given("roles/resourcemanager.tagAdmin", "projects/shop") == set()
        assert Power.ADMIN in given("roles/resourcemanager.folderIamAdmin", "folders/1")
        assert Power.CROSS_ACCOUNT in given("roles/viewer", "projects/other")
        assert given("roles/storage.objectViewer", "projects/shop") == {Power.DATA_READ}
        assert Power.ADMIN not in given("roles/owner", "projects/shop/buckets/one")
        assert given("roles/secretmanager.secretAccessor", "projects/shop") == {Power.SECRETS}


class TestCreep:
    def test_what_moved_or_was_cut_is_no_growth_and_what_was_added_is(self) -> None:
        before = Access(permissions=(allow("s3:*"), allow("sqs:SendMessage")))
        moved = Access(permissions=(replace(allow("s3:Get*"), via="attached Other"),))
        assert grew(before, moved).permissions == ()
        more = Access(permissions=(*moved.permissions, allow("iam:PassRole")))
        assert grew(before, more).permissions == (allow("iam:PassRole"),)

    def test_a_denial_or_a_boundary_that_is_gone_is_growth(self) -> None:
        assert grew(Access(permissions=(allow("*"), deny("iam:*"))), Access(permissions=(allow("*"),))).permissions
        limited = Access(permissions=(allow("*"),), ceilings=((allow("*"), deny("iam:*")),))
        assert grew(limited, Access(permissions=(allow("*"),), ceilings=())).permissions
        assert not grew(limited, replace(limited, ceilings=((allow("s3:*"), deny("iam:*")), (allow("*"),)))).permissions
        assert not grew(limited, Access(permissions=(allow("*"),))).permissions  # not told any more is no growth
        bounded = Access(permissions=(allow("*"),), boundary=(allow("s3:*"),))
        assert grew(bounded, Access(permissions=(allow("*"),))).permissions
        assert not grew(Access(permissions=(allow("*"),)), bounded).permissions

    @pytest.mark.parametrize(
        "wider", [deny("s3:Put*", "s3:Delete*"), deny("s3:DeleteBucket", "s3:PutObject"), deny("*")]
    )
    def test_a_denial_that_takes_in_what_the_old_one_did_is_no_growth(self, wider: Permission) -> None:
        old = deny("s3:PutObject", "s3:DeleteBucket", condition="c1")
        own = Access(permissions=(allow("*"), old), ceilings=((allow("*"), old),))
        assert not grew(own, Access(permissions=(allow("*"), wider), ceilings=((allow("*"), wider),))).permissions
        assert grew(own, replace(own, permissions=(allow("*"), replace(wider, condition="c2")))).permissions
        assert grew(own, replace(own, ceilings=((allow("*"), replace(wider, resources=("a",))),))).permissions

    def test_who_is_newly_trusted_is_told(self) -> None:
        other = Trust(who="arn:aws:iam::2:root", kind=TrustKind.IDENTITY, outside=True)
        assert grew(Access(), Access(trust=(other,))).trust == ("arn:aws:iam::2:root",)

    @settings(max_examples=40, deadline=None)
    @given(before=policies, now=policies, conditions=st.sets(st.sampled_from(("c1", "c2"))))
    def test_nothing_that_is_newly_allowed_goes_untold(
        self, before: tuple[Permission, ...], now: tuple[Permission, ...], conditions: set[str]
    ) -> None:
        if grew(Access(permissions=before), Access(permissions=now)).permissions:
            return
        for action in ACTIONS:
            for place in PLACES:
                if allows(now, action, place, conditions.__contains__):
                    assert allows(before, action, place, conditions.__contains__)

    def test_all_but_some_is_covered_by_all_but_fewer(self) -> None:
        wide = Permission(allows=True, but_actions=("iam:*",), resources=("*",))
        narrow = Permission(allows=True, but_actions=("iam:*", "sts:*"), resources=("*",))
        assert is_covered(narrow, [wide])
        assert not is_covered(wide, [narrow])
        assert not is_covered(allow("i*"), [wide])
