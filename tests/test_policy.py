"""What policy.toml says, and what is said about a file that cannot be taken."""

from __future__ import annotations

import tomllib
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.errors import PolicyError, SettingsError
from nhi.policy import NEVER, Policy, Source, load, parse, parse_duration, parse_end, parse_hours
from tests.strategies import HOSTILE_TEXTS, a_user

DAYS_90 = timedelta(days=90)


def policy_of(text: str) -> Policy:
    return parse(tomllib.loads(text))


def unused_after(text: str, **identity: Any) -> timedelta:
    return policy_of(text).rules.unused_after_for(a_user(**identity))


# -- defaults, files ---------------------------------------------------------------------------------------------------


def test_no_file_and_an_empty_file_are_the_default_policy(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()

    assert load(tmp_path / "none.toml") == load(tmp_path / "empty.toml") == Policy()


def test_the_defaults_are_those_that_the_interface_promises() -> None:
    policy = Policy()

    assert policy.rules.unused_after == policy.rules.unrotated_after == DAYS_90
    assert policy.rules.justification_at_most == timedelta(days=180)
    assert policy.sources == (Source(provider="aws"),)
    assert policy.owners.tags == ("owner", "Owner", "team-email")
    assert policy.conversation.shadow
    assert policy.conversation.working_hours == (time(9), time(17))
    assert policy.conversation.remind_after == (timedelta(days=3), timedelta(days=4))
    assert policy.conversation.escalate_to == ("manager", "#security")
    assert policy.conversation.questions_a_week == 10
    assert policy.remediation.mode == "propose"
    assert policy.remediation.actions_an_hour == 5


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b'\xef\xbb\xbf[remediation]\nmode = "reversible"\n')

    assert load(path).remediation.mode == "reversible"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[rules", "is not TOML"),
        (b'unused_after = "90d" "x"', "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"[rules]\nunused_afer = '30d'\n", "unknown key `rules.unused_afer`; did you mean `unused_after`?"),
        (b"a\x00b", "is not TOML"),
    ],
)
def test_an_unreadable_file_is_one_sentence_that_names_it(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)

    with pytest.raises(PolicyError) as refused:
        load(path)

    assert str(path) in str(refused.value)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, SettingsError)


def test_a_folder_in_its_place_is_one_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"cannot be read .*set NHI_POLICY"):
        load(tmp_path)


# -- unknown keys, wrong values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[rule]", "unknown key `rule`; did you mean `rules`?"),
        ("[rules]\nunused_afer = '1d'", "unknown key `rules.unused_afer`; did you mean `unused_after`?"),
        (
            "[[rules.exceptions]]\nmatch = {provder = 'aws'}",
            "unknown key `rules.exceptions.0.match.provder`; did you mean `provider`?",
        ),
        ("[[rules.exceptions]]\nmatch = {}\nunrotated = '1d'", "did you mean `unrotated_after`?"),
        ("[[sources]]\nrole_ann = 'x'", "unknown key `sources.0.role_ann`; did you mean `role_arn`?"),
        ("[conversation]\nshadows = true", "did you mean `shadow`?"),
        (
            "[remediation]\nzzz = 1",
            "unknown key `remediation.zzz`; known here: actions_an_hour, announce_to, break_glass",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(text: str, sentence: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy_of(text)

    assert sentence in str(refused.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(PolicyError, match=r"rules\.unused_afer.*conversation\.questions_a_week"):
        policy_of("[rules]\nunused_afer = '1d'\n[conversation]\nquestions_a_week = 0")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[remediation]\nmode = 'delete'", "remediation.mode"),
        ("[remediation]\nactions_an_hour = 0", "remediation.actions_an_hour"),
        ("[conversation]\nquestions_a_week = 0", "conversation.questions_a_week"),
        ("[conversation]\nworking_hours = '17:00-09:00'", "conversation.working_hours"),
        ("[rules]\nunused_after = 90", "rules.unused_after"),
        ("[rules]\nunused_after = '0d'", "rules.unused_after"),
        ("[rules]\njustification_at_most = 'never'", "rules.justification_at_most"),
        ("[conversation]\nremind_after = ['3d', 'never']", "conversation.remind_after.1"),
        ("[owners]\nthreshold = 1.0", "owners.threshold"),
        ("[[rules.exceptions]]\nmatch = {account = 123456789012}", "rules.exceptions.0.match.account"),
        ("rules = 5", "rules"),
    ],
)
def test_a_value_that_cannot_be_taken_is_named_by_its_key(text: str, key: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy_of(text)

    assert f"`{key}`" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[people]\nadmins = 'dora@example.com'", '`people.admins`: must be a list, like ["one", "two"]'),
        ("[people]\nadmins = ['dora']", "`people.admins.0`: a person is an e-mail address or a Slack id"),
        ("[owners]\nfallback = '#security'", "`owners.fallback`: an e-mail address looks like"),
        ("[conversation]\nescalate_to = ['security']", '`conversation.escalate_to.0`: silence goes to "manager"'),
        ("[conversation]\nshadow = 'perhaps'", "`conversation.shadow`: must be true or false"),
        ("[conversation]\nquestions_a_week = 0", "`conversation.questions_a_week`: must be 1 or more"),
        ("[remediation]\nmode = 'delete'", "`remediation.mode`: must be 'propose' or 'reversible'"),
        ("[[rules.exceptions]]\nunused_after = '30d'", "`rules.exceptions.0.match`: is missing"),
        ("[[rules.exceptions]]\nmatch = {account = 123456789012}", "match.account`: must be text in quotes"),
        ("rules = 5", "`rules`: must be a table"),
        ("[[sources]]\nrole_arn = 'nhi-reader'", "`sources.0.role_arn`: a role's ARN looks like arn:aws:iam::"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_words_of_the_file(text: str, sentence: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy_of(text)

    assert sentence in str(refused.value)


@pytest.mark.parametrize("rung", ["manager", "#security", "#sec-ops_2", "C012AB3CD", "boss@example.com"])
def test_silence_can_go_to_a_manager_a_channel_or_a_person(rung: str) -> None:
    assert policy_of(f"[conversation]\nescalate_to = ['{rung}']").conversation.escalate_to == (rung,)


# -- durations, hours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90d", timedelta(days=90)),
        ("4h", timedelta(hours=4)),
        ("30m", timedelta(minutes=30)),
        ("2w", timedelta(weeks=2)),
        ("90 d", timedelta(days=90)),
        ("never", NEVER),
        (timedelta(days=1), timedelta(days=1)),
    ],
)
def test_durations_carry_their_unit(text: object, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "0d", "1y", "90d ", "123456d", 90, None, True, ["1d"]])
def test_a_duration_that_is_none_is_told_how_one_looks(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is a whole number above 0 with a unit"):
        parse_duration(text)


def test_what_must_end_cannot_be_never() -> None:
    with pytest.raises(ValueError, match="this must end"):
        parse_end("never")
    assert parse_end("180d") == timedelta(days=180)


@pytest.mark.parametrize("text", ["09:00", "9-17", "24:00-25:00", "17:00-09:00", "09:00-09:00", 9, None])
def test_hours_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="working hours"):
        parse_hours(text)


@settings(max_examples=150, deadline=None)
@given(text=HOSTILE_TEXTS | st.from_regex(r"\d{1,7}\s?[a-z]?", fullmatch=True))
def test_any_text_is_a_duration_above_zero_or_refused(text: str) -> None:
    try:
        length = parse_duration(text)
    except ValueError:
        return
    assert length > timedelta(0)


# -- exceptions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("provider = 'aws'", True),
        ("provider = 'gcp'", False),
        ("account = '123456789012'", True),
        ("account = '999999999999'", False),
        ("kind = 'iam_user'", True),
        ("kind = 'iam_role'", False),
        ("name = 'ci-*'", True),
        ("name = 'ci'", False),
        ("name = 'CI-*'", False),
        ("name = '*'", True),
        ("tag = {environment = 'dev'}", True),
        ("tag = {environment = 'de*'}", False),
        ("tag = {environment = 'dev', team = 'web'}", False),
        ("provider = 'aws', kind = 'iam_user', name = 'ci-?????y', tag = {environment = 'dev'}", True),
        ("provider = 'aws', kind = 'iam_role'", False),
        ("", True),
    ],
)
def test_an_exception_applies_where_every_key_it_gives_fits(match: str, fits: bool) -> None:
    found = unused_after(
        f"[[rules.exceptions]]\nmatch = {{ {match} }}\nunused_after = '30d'", tags={"environment": "dev"}
    )

    assert found == (timedelta(days=30) if fits else DAYS_90)


TWO = """
[[rules.exceptions]]
match = { name = "ci-*" }
unused_after = "30d"

[[rules.exceptions]]
match = { provider = "aws" }
unused_after = "10d"
unrotated_after = "never"
"""


def test_the_first_exception_that_fits_wins() -> None:
    assert unused_after(TWO, name="ci-deploy") == timedelta(days=30)
    assert unused_after(TWO, name="backup") == timedelta(days=10)
    assert unused_after(TWO, name="backup", provider="gcp") == DAYS_90


def test_an_exception_that_does_not_name_a_rule_leaves_it_to_the_next_that_does() -> None:
    assert policy_of(TWO).rules.unrotated_after_for(a_user(name="ci-deploy")) == NEVER


def test_an_exception_may_say_never() -> None:
    text = "[[rules.exceptions]]\nmatch = {kind = 'iam_user'}\nunused_after = 'never'"

    assert unused_after(text) == NEVER
    assert unused_after(text, kind="iam_role") == DAYS_90
