"""Forms: what they offer, and how what comes back is read."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import modals
from bot.render import Json
from demo.slack_rules import check_view
from nhi.errors import BadAnswer, OutOfDate
from nhi.escalation import Verdict
from nhi.policy import Policy
from tests.slack_facts import ACCESS_KEY, SECRETS, THOROUGH, ask, credential, finding, identity, kinds_in, shown, worlds

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)


def justify(facts: Json, policy: Policy | None = None) -> Json:
    return modals.justify(facts, "offer-1", policy=policy or Policy(), now=NOW)


def fields(view: Json) -> list[str]:
    return [block["block_id"] for block in view["blocks"] if block["type"] == "input"]


def submitted(private_metadata: Any, **values: Any) -> Json:
    return {"private_metadata": private_metadata, "state": {"values": {name: {name: v} for name, v in values.items()}}}


@THOROUGH
@given(worlds())
def test_slack_takes_every_form_and_none_shows_markup_or_a_secret(facts: Json) -> None:
    for view in (justify(facts), modals.disable(facts, "offer-1"), modals.rotate(facts, "offer-1")):
        assert check_view(view, "modal") == []
        assert "mrkdwn" not in kinds_in(view)
        assert not any(secret in shown(view) for secret in SECRETS)


# Justify


def test_justify_asks_for_a_reason_an_end_and_offers_to_claim() -> None:
    view = justify(ask())
    assert (view["callback_id"], view["private_metadata"]) == ("nhi:justify", "offer-1")
    assert fields(view) == ["reason", "until", "claim"]
    assert "Policy allows Sat 1 May 2027 at the latest." in shown(view) + str(view)


def test_who_owns_it_already_is_not_asked_to_claim_it() -> None:
    assert fields(justify(ask(can=["not_mine", "justify"]))) == ["reason", "until"]


@pytest.mark.parametrize(
    ("longest", "first"), [(30, "2026-12-02"), (90, "2027-01-31"), (91, "2027-01-31"), (180, "2027-01-31")]
)
def test_the_day_offered_first_is_ninety_days_ahead_or_what_policy_allows(longest: int, first: str) -> None:
    rules = Policy().rules.model_copy(update={"justification_at_most": timedelta(days=longest)})
    view = justify(ask(), Policy().model_copy(update={"rules": rules}))
    [until] = [block for block in view["blocks"] if block.get("block_id") == "until"]
    assert until["element"]["initial_date"] == first


def test_a_justification_that_never_has_to_end_is_drawn_too() -> None:
    rules = Policy().rules.model_copy(update={"justification_at_most": timedelta.max})
    view = justify(ask(), Policy().model_copy(update={"rules": rules}))
    assert check_view(view, "modal") == []


def test_a_justification_is_read_as_it_was_entered() -> None:
    view = submitted(
        "offer-1",
        reason={"value": "The nightly export."},
        until={"selected_date": "2027-01-31"},
        claim={"selected_options": [{"value": "claim"}]},
    )
    assert modals.read_justify(view) == ("offer-1", "The nightly export.", date(2027, 1, 31), True)


def test_an_unticked_box_claims_nothing() -> None:
    view = submitted("o", reason={"value": "x"}, until={"selected_date": "2027-01-31"}, claim={"selected_options": []})
    assert modals.read_justify(view)[3] is False


@pytest.mark.parametrize("reason", [None, "", " \n", 7, ["x"]])
def test_a_missing_reason_is_told_beside_its_field(reason: Any) -> None:
    view = submitted("o", reason={"value": reason}, until={"selected_date": "2027-01-31"})
    with pytest.raises(BadAnswer) as caught:
        modals.read_justify(view)
    assert modals.errors(caught.value) == {"reason": "Please say why."}


@pytest.mark.parametrize("day", [None, "", "tomorrow", "2027-02-30", 7, {}])
def test_a_missing_or_garbled_day_is_told_beside_its_field(day: Any) -> None:
    with pytest.raises(BadAnswer) as caught:
        modals.read_justify(submitted("o", reason={"value": "x"}, until={"selected_date": day}))
    assert caught.value.field == "until"


# Disable and rotate


def test_a_single_credential_is_shown_and_one_of_several_is_chosen() -> None:
    one = modals.disable(ask(), "offer-1")
    assert json.loads(one["private_metadata"]) == {"offer": "offer-1", "credential": "c" * 32}
    assert "credential" not in fields(one)
    assert ACCESS_KEY in shown(one)
    two = modals.disable(ask(credentials=[credential(), credential(row="d" * 32)]), "offer-1")
    assert json.loads(two["private_metadata"]) == {"offer": "offer-1", "credential": None}
    assert fields(two) == ["credential", "claim"]


def test_credentials_with_findings_come_first() -> None:
    credentials = [credential(row="a" * 32), credential(row="b" * 32)]
    facts = ask(credentials=credentials, findings=[finding(credential=credentials[1])])
    assert [each["row"][0] for each in modals.choices(Verdict.DISABLE, facts)] == ["b", "a"]


@pytest.mark.parametrize(("about", "chosen"), [("", None), ("b", "b"), ("ab", None)])
def test_the_one_credential_that_the_card_is_about_stands_chosen(about: str, chosen: str | None) -> None:
    credentials = {row: credential(row=row * 32) for row in "ab"}
    found = [finding(credential=credentials[row]) for row in about]
    view = modals.disable(ask(credentials=list(credentials.values()), findings=found), "offer-1")
    element = next(block["element"] for block in view["blocks"] if block.get("block_id") == "credential")
    assert element.get("initial_option", {}).get("value") == (chosen and chosen * 32)


@pytest.mark.parametrize(
    ("odd", "disables", "rotates"),
    [
        ({}, True, True),
        ({"status": "inactive"}, False, False),
        ({"id": None}, False, False),
        ({"kind": "service_specific_credential"}, True, True),
        ({"kind": "console_password"}, True, False),
        ({"kind": "signing_certificate"}, False, True),
    ],
)
def test_only_what_can_be_turned_off_or_rotated_is_offered(odd: Json, disables: bool, rotates: bool) -> None:
    facts = ask(credentials=[credential(**odd)])
    assert bool(modals.choices(Verdict.DISABLE, facts)) is disables
    assert bool(modals.choices(Verdict.ROTATE, facts)) is rotates


def test_without_a_credential_the_form_says_so_and_cannot_be_sent() -> None:
    view = modals.disable(ask(credentials=[]), "offer-1")
    assert check_view(view, "modal") == []
    assert "submit" not in view
    assert "None of its credentials can be chosen any more" in shown(view)


def test_secrets_that_nobody_here_holds_are_not_offered() -> None:
    assert modals.choices(Verdict.ROTATE, ask(identity=identity(custody="platform"))) == []


def test_the_form_says_what_disable_does_under_this_policy() -> None:
    acts, proposes = (shown(modals.disable(ask(mode=mode), "o")) for mode in ("reversible", "propose"))
    assert "It can be turned back on with one press for 30 days. Nothing is deleted." in acts
    assert "only written down" in proposes


def test_the_credential_chosen_is_read_from_the_form_or_from_its_metadata() -> None:
    chosen = submitted(json.dumps({"offer": "o", "credential": None}), credential={"selected_option": {"value": "d1"}})
    assert modals.read_credential(chosen) == ("o", "d1", False)
    assert modals.read_credential(submitted(json.dumps({"offer": "o", "credential": "c1"}))) == ("o", "c1", False)


@pytest.mark.parametrize(
    "option", [None, {}, {"value": None}, {"value": 7}, {"value": "x y"}, "x", {"value": "a" * 65}]
)
def test_no_credential_chosen_is_told_beside_its_field(option: Any) -> None:
    view = submitted(json.dumps({"offer": "o", "credential": None}), credential={"selected_option": option})
    with pytest.raises(BadAnswer) as caught:
        modals.read_credential(view)
    assert caught.value.field == "credential"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "null",
        "[]",
        "7",
        "{",
        "[" * 100_000,
        '{"offer": 7}',
        '{"offer": "a b"}',
        '{"offer": "o", "credential": 1}',
    ],
)
def test_a_form_that_is_not_ours_is_out_of_date(metadata: Any) -> None:
    with pytest.raises(OutOfDate):
        modals.read_credential(submitted(metadata))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["state", "values", "reason", "until", "claim", "value"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values, json_values, json_values)
def test_whatever_is_submitted_is_read_or_refused_with_a_sentence(metadata: Any, state: Any, blocks: Any) -> None:
    view = {"private_metadata": metadata, "state": state, "blocks": blocks}
    for read in (modals.read_justify, modals.read_credential):
        with pytest.raises((BadAnswer, OutOfDate)) as caught:
            read(view)
        assert str(caught.value)


def test_an_error_about_a_field_that_the_form_lacks_stands_beside_its_first_one() -> None:
    error = BadAnswer("No.", field="zork")
    assert modals.errors(error, justify(ask())) == {"reason": "No."}
    assert modals.errors(BadAnswer("No.", field="until"), justify(ask())) == {"until": "No."}
