"""What becomes of a rotation is decided by what is seen, on both sides of each boundary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.errors import PolicyError
from nhi.identity import Coverage, CredentialStatus, Custody, Identity
from nhi.policy import Policy, parse
from nhi.rotation import (
    OURS_WITHIN,
    SETTLES,
    TRAIL_TELLS,
    USE_LAGS,
    Adopt,
    Again,
    Broken,
    GiveUp,
    Hindrance,
    Key,
    NotOurs,
    Objection,
    Vanished,
    Wait,
    after_break,
    hindrance,
    objection,
    place_for,
    watch,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY, WEEK, TICK = timedelta(days=1), timedelta(days=7), timedelta(seconds=1)
ACTIVE, INACTIVE = CredentialStatus.ACTIVE, CredentialStatus.INACTIVE
OLD = Key(id="OLD", status=ACTIVE, created_at=NOW - 400 * DAY, last_used_at=NOW - DAY)
NEW = Key(id="NEW", status=ACTIVE, created_at=NOW, last_used_at=None)
BROKEN = Broken(keys_before=frozenset({"OLD"}), began_at=NOW, new_id=None, is_stored=False)


# -- before ------------------------------------------------------------------------------------------------------------


def test_a_second_key_is_made_beside_one_and_not_beside_two() -> None:
    assert hindrance("OLD", [OLD], most=2) is None
    found = hindrance("OLD", [OLD, replace(NEW, status=INACTIVE)], most=2)  # one that is off takes its place too
    assert found is not None
    assert (found.why, [key.id for key in found.others]) == (Hindrance.TOO_MANY_KEYS, ["NEW"])


def test_nothing_is_made_beside_a_key_that_is_off_or_gone() -> None:
    off, gone = hindrance("OLD", [replace(OLD, status=INACTIVE)], most=2), hindrance("OLD", [NEW], most=2)
    assert (off and off.why, gone and gone.why) == (Hindrance.OLD_IS_OFF, Hindrance.OLD_IS_GONE)


# -- after a run that broke off ----------------------------------------------------------------------------------------


def test_what_is_stored_is_adopted_whatever_else_is_seen() -> None:
    assert after_break(replace(BROKEN, is_stored=True), [OLD, NEW], None, NOW) == Adopt(key_id="NEW")
    assert after_break(replace(BROKEN, is_stored=True, new_id="NEW"), [OLD], None, NOW) == Adopt(key_id="NEW")


def test_it_begins_anew_only_when_a_list_would_show_a_key_that_was_made() -> None:
    assert after_break(BROKEN, [OLD], None, NOW + SETTLES - TICK) == Wait()
    assert after_break(BROKEN, [OLD], None, NOW + SETTLES) == Again()


def test_a_key_that_was_made_and_not_stored_is_given_up_once_a_secret_would_show_it() -> None:
    known = replace(BROKEN, new_id="NEW")
    assert after_break(known, [OLD, NEW], None, NOW + SETTLES - TICK) == Wait()
    assert after_break(known, [OLD, NEW], None, NOW + SETTLES) == GiveUp(key_id="NEW", is_off=False)
    off = replace(NEW, status=INACTIVE)
    assert after_break(known, [OLD, off], None, NOW + SETTLES) == GiveUp(key_id="NEW", is_off=True)
    assert after_break(known, [OLD], None, NOW + SETTLES) == Vanished(key_id="NEW")


def test_a_key_whose_maker_is_not_known_is_ours_only_by_the_trail_or_by_its_age_after_an_hour() -> None:
    keys = [OLD, NEW]
    assert after_break(BROKEN, keys, True, NOW + SETTLES) == GiveUp(key_id="NEW", is_off=False)
    assert after_break(BROKEN, keys, False, NOW + SETTLES) == NotOurs(key_id="NEW")
    assert after_break(BROKEN, keys, None, NOW + TRAIL_TELLS - TICK) == Wait()
    assert after_break(BROKEN, keys, None, NOW + TRAIL_TELLS) == GiveUp(key_id="NEW", is_off=False)
    late = replace(NEW, created_at=NOW + OURS_WITHIN + TICK)
    assert after_break(BROKEN, [OLD, late], None, NOW + TRAIL_TELLS) == NotOurs(key_id="NEW")


instants = st.timedeltas(min_value=timedelta(), max_value=timedelta(hours=3))
keys_strategy = st.lists(
    st.builds(
        Key,
        id=st.sampled_from(["OLD", "NEW", "THEIRS"]),
        status=st.sampled_from([ACTIVE, INACTIVE]),
        created_at=instants.map(lambda since: NOW + since),
        last_used_at=st.none() | instants.map(lambda since: NOW + since),
    ),
    max_size=2,
    unique_by=lambda key: key.id,
)


@settings(max_examples=300, deadline=None)
@given(keys_strategy, st.none() | st.just("NEW"), st.booleans(), st.sampled_from([None, True, False]), instants)
def test_a_key_that_was_there_before_or_that_somebody_uses_is_never_given_up(
    keys: list[Key], new_id: str | None, is_stored: bool, ours: bool | None, age: timedelta
) -> None:
    broken = replace(BROKEN, new_id=new_id, is_stored=is_stored)
    answer = after_break(broken, keys, ours, NOW + age)
    if isinstance(answer, GiveUp):
        (given_up,) = [key for key in keys if key.id == answer.key_id]
        assert answer.key_id != "OLD"
        assert given_up.last_used_at is None
        assert not is_stored
        assert new_id == answer.key_id or ours is not False
    if isinstance(answer, Again):
        assert all(key.id in broken.keys_before for key in keys)  # else a second key would be forgotten


# -- the watch ---------------------------------------------------------------------------------------------------------


def seen(old: datetime | None, new: datetime | None, *, now: datetime, back: datetime | None = None) -> bool:
    return watch(old_used_at=old, new_used_at=new, stored_at=NOW, turned_on_at=back, still_for=WEEK, now=now).is_ready


def test_the_old_key_can_go_when_it_was_still_for_a_week_and_the_lag_and_not_before() -> None:
    used = NOW + 2 * DAY
    assert not seen(used, NOW + DAY, now=used + WEEK + USE_LAGS - TICK)
    assert seen(used, NOW + DAY, now=used + WEEK + USE_LAGS)


def test_stillness_counts_from_the_new_keys_storing_at_the_earliest() -> None:
    for old in (None, NOW - 300 * DAY):
        assert not seen(old, NOW + DAY, now=NOW + WEEK)
        assert seen(old, NOW + DAY, now=NOW + WEEK + USE_LAGS)


def test_the_old_key_stays_while_the_new_one_is_not_used() -> None:
    assert not seen(None, None, now=NOW + 300 * DAY)


def test_an_old_key_that_was_turned_on_again_gets_its_week_again() -> None:
    back = NOW + 20 * DAY
    assert not seen(None, NOW + DAY, back=back, now=back + WEEK)
    assert seen(None, NOW + DAY, back=back, now=back + WEEK + USE_LAGS)


def test_a_new_key_is_taken_back_only_while_the_old_one_works_and_nobody_uses_the_new() -> None:
    assert objection("OLD", "NEW", [OLD, NEW]) is None
    assert objection("OLD", "NEW", [OLD]) is None  # somebody deleted the new one already
    assert objection("OLD", "NEW", [OLD, replace(NEW, last_used_at=NOW)]) is Objection.NEW_IS_USED
    assert objection("OLD", "NEW", [replace(OLD, status=INACTIVE), NEW]) is Objection.OLD_IS_OFF
    assert objection("OLD", "NEW", [NEW]) is Objection.OLD_IS_GONE


# -- policy ------------------------------------------------------------------------------------------------------------


def identity(name: str, account: str = "111122223333") -> Identity:
    return Identity(
        provider="aws",
        kind="iam_user",
        account=account,
        key="AIDA",
        name=name,
        principal=f"arn:aws:iam::{account}:user/{name}",
        custody=Custody.OURS,
        created_at=NOW,
        last_used_at=None,
        coverage=Coverage(says=""),
    )


def policy(**rotation: object) -> Policy:
    return parse({"rotation": rotation})


def test_rotation_is_off_by_default_and_needs_a_place() -> None:
    assert Policy().rotation.destination_for(identity("ci")) is None
    with pytest.raises(PolicyError, match="needs a place for new secrets"):
        policy(enabled=True)


def test_the_first_destination_that_fits_wins_and_its_name_is_filled_in() -> None:
    told = policy(
        enabled=True,
        destinations=[{"match": {"name": "ci-*"}, "secret": "ci/{name}"}, {"secret": "all/{account}/{name}"}],
    )
    places = [
        place_for(one, found)
        for one in (identity("ci-deploy"), identity("a,b c"))
        if (found := told.rotation.destination_for(one))
    ]
    assert [place.secret for place in places] == ["ci/ci-deploy", "all/111122223333/a-b-c"]
    assert places[0].mark == "arn:aws:iam::111122223333:user/ci-deploy"


def test_a_hole_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(PolicyError, match=r"\{account\}, \{name\}, \{provider\}; got \{user\}"):
        policy(enabled=True, destinations=[{"secret": "nhi/{user}"}])
