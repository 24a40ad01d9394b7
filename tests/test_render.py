"""Templates, and the escaping that none of them can leave out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from bot.messages import note
from bot.render import Words, say
from nhi.words import day, environment, last_day, plural, sentence
from tests.slack_facts import ACCESS_KEY, HOSTILE, SECRETS, hostile_texts, kinds_in, shown

TEMPLATES = environment().list_templates(extensions=["j2"])


def rendered(source: str, **facts: object) -> Words:
    return Words(prose=environment().from_string(source).render(**facts))


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_compiles(name: str) -> None:
    assert environment().get_template(name).blocks


def test_a_name_that_nobody_gave_is_an_error_and_not_an_empty_space() -> None:
    with pytest.raises(UndefinedError):
        rendered("Hello {{ nobody }}")
    with pytest.raises(UndefinedError):
        say("messages.note")


@settings(deadline=None)
@given(hostile_texts)
def test_a_value_is_one_text_whatever_it_holds(text: str) -> None:
    rich = rendered("Hello {{ text }}, *{{ text }}* {{ text | code }}\n- {{ text | cut(20) }}", text=text).rich()
    ordinary = rendered("Hello {{ text }}, *{{ text }}* {{ text | code }}\n- {{ text | cut(20) }}", text="x").rich()
    assert set(kinds_in(rich)) <= set(kinds_in(ordinary))
    assert not any(secret in shown(rich) for secret in SECRETS)


@settings(deadline=None)
@given(hostile_texts)
def test_what_is_made_of_values_inside_a_template_is_made_inert_again(text: str) -> None:
    source = (
        "{{ (text | code) ~ text }}{{ [text, text | code] | join(', ') }}{{ text | safe }}{{ (text | code)[:9] }}"
        "{% set both %}{{ text }}{% endset %}{{ both }}{% macro m() %}{{ text | code }}{% endmacro %}{{ m() }}"
    )
    [section] = rendered(source, text=text).rich()["elements"] or [{"elements": []}]
    assert all(leaf.keys() == {"type", "text"} for leaf in section["elements"])


@pytest.mark.parametrize("text", ["ci_deploy*", "arn:aws:iam::123456789012:user/a_b@c", "a&b<c>", "`x`", "~me"])
def test_a_name_or_an_arn_can_be_copied_whole(text: str) -> None:
    [section] = rendered("{{ text | code }}", text=text).rich()["elements"]
    assert section["elements"] == [{"type": "text", "text": text, "style": {"code": True}}]


def test_the_id_of_an_access_key_is_legible_where_a_template_says_that_it_is_one_and_nowhere_else() -> None:
    assert ACCESS_KEY in shown(rendered("{{ id | key_id }}", id=ACCESS_KEY).rich())
    assert "[redacted]" in shown(rendered("{{ id }}", id=ACCESS_KEY).rich())


@pytest.mark.parametrize("text", [SECRETS[0], f"{ACCESS_KEY} {SECRETS[0]}", "A" * 129, "AKIA*", ACCESS_KEY + "\n"])
def test_what_is_no_public_id_is_not_shown_as_one(text: str) -> None:
    assert text not in shown(rendered("{{ id | key_id }}", id=text).rich())[:200] or text == "AKIA*"
    assert not any(secret in shown(rendered("{{ id | key_id }}", id=text).rich()) for secret in SECRETS)


def test_prose_is_read_as_people_know_it_from_slack() -> None:
    rich = rendered("*Bold* and _italic_ and `code`\n\nsnake_case_name\n- one\n- *two*\nafter").rich()
    section, bullets, last = rich["elements"]
    assert [leaf.get("style") for leaf in section["elements"]] == [
        {"bold": True},
        None,
        {"italic": True},
        None,
        {"code": True},
        None,
    ]
    assert section["elements"][-1]["text"] == "\n\nsnake_case_name"
    assert [shown(item) for item in bullets["elements"]] == ["one", "two"]
    assert shown(last) == "after"


def test_plain_text_shows_no_markup() -> None:
    assert rendered("*Bold* `code`\n- _one_").plain() == "Bold code\n• one"


def test_plain_text_is_cut_to_the_limit_and_says_so() -> None:
    assert rendered("{{ text }}", text="a" * 75).plain(75) == "a" * 75
    assert rendered("{{ text }}", text="a" * 76).plain(75) == "a" * 74 + "…"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-20T23:59:59Z", "Fri 20 Nov 2026"),
        ("2026-11-21T00:00:00Z", "Sat 21 Nov 2026"),
        ("2026-11-21T00:30:00+02:00", "Fri 20 Nov 2026"),
        (None, "not known"),
        ("soon", "not known"),
    ],
)
def test_a_day_is_told_in_utc(value: str | None, expected: str) -> None:
    assert day(value) == expected


def test_what_ends_at_midnight_holds_until_the_day_before() -> None:
    assert last_day("2027-02-02T00:00:00Z") == "Mon 1 Feb 2027"
    assert last_day("2027-02-01T23:59:59Z") == "Mon 1 Feb 2027"


def test_a_moment_is_a_date_that_slack_shows_in_the_readers_zone_and_a_text_elsewhere() -> None:
    at = rendered("{{ at | moment }}", at="2026-11-02T09:04:00Z")
    [leaf] = at.rich()["elements"][0]["elements"]
    assert leaf == {
        "type": "date",
        "timestamp": 1793610240,
        "format": "{date_short_pretty} at {time}",
        "fallback": "Mon 2 Nov 2026 at 09:04 UTC",
    }
    assert at.plain() == at.spoken() == "Mon 2 Nov 2026 at 09:04 UTC"


@pytest.mark.parametrize(("count", "told"), [(0, "0 questions"), (1, "1 question"), (2, "2 questions")])
def test_nouns_follow_their_number(count: int, told: str) -> None:
    assert plural(count, "question") == told


@settings(deadline=None)
@given(st.text())
def test_spoken_text_is_one_line_that_slack_does_nothing_with(text: str) -> None:
    spoken = rendered("Hello {{ text }}", text=text).spoken()
    assert "\n" not in spoken
    assert not any(mark in spoken for mark in "<>*~`")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_text_stops_a_message(text: str) -> None:
    assert rendered("Hello {{ text }}", text=text).rich()["elements"]


def test_commands_in_a_refusal_are_set_as_code_and_what_people_wrote_in_it_is_not_read() -> None:
    hint = sentence("refusals.out_of_date")
    assert "`/nhi mine`" in hint  # as it stands in a terminal, and in a form's error
    said = note(f"{hint} *{HOSTILE[0]}*")
    elements = said.blocks[0]["elements"][0]["elements"]
    assert [one["text"] for one in elements if one.get("style") == {"code": True}] == ["/nhi mine"]
    assert not any("bold" in one.get("style", {}) for one in elements)
    assert said.text.startswith("This card is out of date. /nhi mine shows what is open now. ")
