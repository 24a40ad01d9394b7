"""What messages say, and what they must never be made to say."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import card, home, messages, whois
from bot.messages import Message
from bot.render import Json
from demo.slack_rules import ALL_BLOCKS_TEXT_AT_MOST, UPDATED_TEXT_AT_MOST, check_blocks, check_view, text_length
from tests.slack_facts import (
    ACCESS_KEY,
    HOSTILE,
    SECRETS,
    THOROUGH,
    answer,
    ask,
    credential,
    finding,
    hostile,
    hostile_texts,
    identity,
    kinds_in,
    known,
    owner,
    remediation,
    scream_test,
    shown,
    silence,
    texts_in,
    worlds,
)

KINDS = ["digest", "reminder", "escalation", "shadow"]
LEAVES = {"text", "date", "plain_text", "button"}
FRAMES = {"rich_text", "rich_text_section", "rich_text_list", "header", "context", "actions", "divider"}


def assert_slack_takes(message: Message) -> None:
    assert check_blocks(message.blocks, "message") == []
    assert text_length(message.blocks) <= ALL_BLOCKS_TEXT_AT_MOST
    assert 0 < len(message.text) <= UPDATED_TEXT_AT_MOST


def assert_harmless(message: Message) -> None:
    """Nothing in it is mark-up that a cloud or a person wrote, and nothing is a secret."""
    assert set(kinds_in(message.blocks)) <= LEAVES | FRAMES
    for text in [*texts_in(message.blocks), message.text]:
        assert not any(secret in text for secret in SECRETS)
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") for c in text.replace("\n", ""))
    assert_spoken_text_is_inert(message.text)


def assert_spoken_text_is_inert(text: str) -> None:
    assert not re.search(r"[<>*~`\n]|://", text)
    assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    assert not re.search(r"(?<!\w)[@_]|_(?!\w)", text.replace("&lt;", " ").replace("&gt;", " ").replace("&amp;", " "))


def every_message(facts: Json, text: str) -> list[Message]:
    seen = {"history": [{"seq": 1, "at": None, "kind": text, "facts": {"kind": text}}] * 60}
    whole = known(**{name: facts[name] for name in ("identity", "credentials", "findings", "owner", "can")}, **seen)
    whole |= {"answers": facts["answers"], "remediations": facts["remediations"]}
    words = {"name": text, "number": 2, "to": text, "asked_at": "2026-11-02T09:00:00Z"}
    cards = [(facts, f"offer-{n}") for n in range(8)]
    return [
        *(messages.digest(words | {"kind": kind}, cards) for kind in KINDS),
        messages.whois(text, [(whole, f"offer-{n}") for n in range(20)]),
        messages.whois(text, []),
        messages.mine([whole] * 30, cards),
        messages.unknown(text, text),
        messages.sorry(text),
        messages.note(text),
        messages.answered(facts),
    ]


@THOROUGH
@given(worlds(), hostile_texts)
def test_slack_takes_every_message_and_no_text_becomes_markup_or_shows_a_secret(facts: Json, text: str) -> None:
    for message in every_message(facts, text):
        assert_slack_takes(message)
        assert_harmless(message)


# Every fifth: the largest world takes long to draw, and the others are drawn in ordinary ones below.
@pytest.mark.parametrize("text", [*HOSTILE[::5], "A" * 128, "&" * 10_000])
def test_slack_takes_the_largest_world_that_a_hostile_text_can_fill(text: str) -> None:
    about = [credential(row=f"{n:032d}") for n in range(50)]
    open_one = ask(credentials=about, findings=[finding(credential=each) for each in about])
    said = [answer(verdict, words="Needed.", authority="delegate of") for verdict in ("not_mine", "undo", "disable")]
    ended = ask("answered", credentials=about, answers=said * 3, remediations=[remediation("refused")] * 5)
    for facts in (open_one, ended):
        for message in every_message(hostile(facts, text), text):
            assert_slack_takes(message)
            assert_harmless(message)
        assert text_length(messages.card(hostile(facts, text), "o")) <= card.CHARACTERS_AT_MOST


@THOROUGH
@given(worlds())
def test_six_cards_fit_into_one_message_whatever_they_say(facts: Json) -> None:
    for reader_is_asked in (True, False):
        blocks = messages.card(facts, "offer", reader_is_asked=reader_is_asked)
        assert len(blocks) <= card.BLOCKS_AT_MOST
        assert text_length(blocks) <= card.CHARACTERS_AT_MOST


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_one_text_and_never_more_elements_than_a_harmless_one(text: str) -> None:
    ordinary = messages.card(ask(), "offer")
    attacked = messages.card(ask(identity=identity(name=text)), "offer")
    assert list(kinds_in(attacked)) == list(kinds_in(ordinary))


@THOROUGH
@given(st.lists(worlds(), max_size=3), st.booleans())
def test_slack_takes_every_home_tab(asks: list[Json], shadow: bool) -> None:
    admin = {"shadow": shadow, "people": 14, "identities": 37, "offer": "go"}
    view = home.home([known()] * 40, [(facts, f"o{n}") for n, facts in enumerate(asks * 9)], asks, admin)
    assert check_view(view, "home") == []
    assert set(kinds_in(view)) <= LEAVES | FRAMES | {"home"}


# What a card says


def test_an_open_card_says_what_it_is_what_is_wrong_how_we_know_why_you_and_what_silence_does() -> None:
    says = shown(messages.card(ask(identity=identity(privileged=True)), "offer"))
    for part in (
        "AWS user",
        "ci-deploy",
        "123456789012",
        "can administer it",
        "Unused",
        "237 days ago; policy allows 90.",
        ACCESS_KEY,
        "Last used Tue 10 Mar 2026. IAM sees every request",
        "Why you:",
        "its tag says owner=ana@example.com.",
        "CreateUser by ana@example.com (Thu 1 Jan 2026)",
        "a reminder on Thu 5 Nov 2026",
        "from Fri 13 Nov 2026 the question goes to your manager, then #security.",
        "Nothing is ever turned off because of silence.",
    ):
        assert part in says


def test_the_buttons_are_those_that_the_facts_allow_and_each_carries_the_offer() -> None:
    [actions] = [block for block in messages.card(ask(), "offer-1") if block["type"] == "actions"]
    buttons = [(b["action_id"], b["text"]["text"], b["value"], b.get("style")) for b in actions["elements"]]
    assert buttons == [
        ("nhi:claim", "It's mine", "offer-1", None),
        ("nhi:not_mine", "Not mine", "offer-1", None),
        ("nhi:justify", "Justify", "offer-1", None),
        ("nhi:rotate", "Rotate", "offer-1", None),
        ("nhi:disable", "Disable", "offer-1", "danger"),
    ]


def test_a_card_without_an_offer_has_no_buttons() -> None:
    assert "actions" not in kinds_in(messages.card(ask(), None))


def test_a_reminder_that_has_gone_out_is_not_announced_again() -> None:
    assert "a reminder on" in shown(messages.card(ask(drawn_at="2026-11-05T08:59:59Z"), "o"))
    assert "a reminder on" not in shown(messages.card(ask(drawn_at="2026-11-05T09:00:00Z"), "o"))


def test_a_manager_reads_about_somebody_else_and_not_about_themselves() -> None:
    told = silence(escalated_to=["manager"])
    says = shown(messages.card(ask(silence=told), "o", reader_is_asked=False))
    assert "ana@example.com was asked" in says
    assert "It already went to their manager; next is #security, from Fri 13 Nov 2026." in says
    assert "Why you" not in says


def test_a_credential_whose_use_is_not_known_is_not_called_never_used() -> None:
    unseen = credential(last_used_at=None, use_gap="AccessDenied: iam:GetCredentialReport")
    says = shown(messages.card(ask(credentials=[unseen]), "o"))
    assert "Its use could not be seen (AccessDenied: iam:GetCredentialReport)." in says
    assert "No use is known" not in says
    assert "No use is known." in shown(messages.card(ask(credentials=[credential(last_used_at=None)]), "o"))


def test_the_most_findings_of_a_card_are_three_and_the_rest_is_counted() -> None:
    assert "And 2 more findings" in shown(messages.card(ask(findings=[finding()] * 5), "o"))
    assert "more finding" not in shown(messages.card(ask(findings=[finding()] * 3), "o"))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (answer("claim"), "Ana Silva claimed it ("),
        (answer("justify", words="The export.", until="2027-02-02T00:00:00Z"), "until Mon 1 Feb 2027 ("),
        (answer("justify", words="The export.", until="2027-02-02T00:00:00Z"), "“The export.”"),
        (answer("rotate", credential="c" * 32), f"asked to rotate {ACCESS_KEY} ("),
        (answer("disable", credential="c" * 32), f"asked to disable {ACCESS_KEY} ("),
        (answer("not_mine"), "said it isn't theirs; the next likely owner is asked ("),
        (answer("claim", authority="admin"), "Ana Silva (admin) claimed it"),
        (answer("claim", authority="member of data"), "Ana Silva (member of data) claimed it"),
        (answer("claim", authority="delegate of o@x.io, took it over"), "(delegate of o@x.io, took it over) claimed"),
        (answer("disable", authority="admin in the review of 2026Q4"), "(admin in the review of 2026Q4) asked"),
    ],
)
def test_an_answered_card_says_who_said_what_and_has_no_buttons(said: Json, sentence: str) -> None:
    blocks = messages.card(ask("answered", answers=[said]), None)
    assert sentence in shown([block for block in blocks if block["type"] == "rich_text"]).replace("Mon 2 Nov", "")
    assert "actions" not in kinds_in(blocks)


def test_of_two_answers_given_at_once_the_claim_is_told_first() -> None:
    both = [answer("justify", words="The export.", until="2027-02-02T00:00:00Z"), answer("claim")]
    for answers in (both, both[::-1]):
        says = shown(messages.card(ask("answered", answers=answers), None))
        assert says.index("claimed it") < says.index("justified keeping it")


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (remediation("planned"), "will be turned off within a minute."),
        (remediation("proposed"), "written down. Policy is to propose only: your security team turns it off."),
        (remediation("proposed", "rotate"), "noted; security will get in touch about rotating it."),
        (remediation("acting"), "being turned off right now."),
        (remediation("testing"), "then on again by itself."),
        (remediation("testing"), "Then off for 1 hour, off for 1 day, and only after that for good."),
        (remediation("testing", test=scream_test(audible=False)), "I can't hear calls with it: press Undo"),
        (
            remediation("done"),
            "IAM: the key's last use (up to 4 hours late); CloudTrail, 90 days (up to 15 minutes late).",
        ),
        (remediation("done"), "Undo works until Wed 2 Dec 2026."),
        (remediation("refused"), "left as it is. It was already turned off by somebody else."),
        (remediation("failed"), "it did not work"),
        (remediation("undoing"), "being turned back on right now."),
        (remediation("undone"), "turned back on ("),
        (remediation("undone", acted_at=None), "called off before anything was done."),
    ],
)
def test_an_answered_card_says_what_came_of_it(act: Json, sentence: str) -> None:
    facts = ask("answered", answers=[answer("disable")], remediations=[act], can=["undo"])
    blocks = messages.card(facts, "o")
    assert sentence in shown(blocks)
    assert "nhi:undo" in str(blocks)


def test_a_withdrawn_card_says_that_nothing_is_left_to_ask() -> None:
    assert "Nothing left to ask here." in shown(messages.card(ask("withdrawn"), None))


def test_the_time_of_an_answer_is_shown_in_each_readers_own_zone() -> None:
    dates = _leaves(messages.card(ask("answered", answers=[answer("claim")]), None))
    assert [(leaf["timestamp"], leaf["fallback"]) for leaf in dates] == [(1793610240, "Mon 2 Nov 2026 at 09:04 UTC")]


def _leaves(part: Any) -> list[Json]:
    if isinstance(part, list):
        return [leaf for each in part for leaf in _leaves(each)]
    if not isinstance(part, dict):
        return []
    return [part] if part.get("type") == "date" else [leaf for each in part.values() for leaf in _leaves(each)]


# What stands above the cards


def heading(message: Message) -> str:
    return str(message.blocks[0]["text"]["text"])


def test_a_digest_greets_by_first_name_and_says_how_much_it_is() -> None:
    message = messages.digest({"kind": "digest", "name": "Ana Silva"}, [(ask(), "a"), (ask(), "b"), (ask(), "c")])
    assert heading(message) == "3 questions, about 1 minute"
    assert "Hello Ana." in shown(message.blocks)
    assert message.text == (
        "3 questions for you about identities that you may own, about 1 minute: "
        "AWS user ci-deploy in account 123456789012 and 2 more."
    )


def test_only_open_cards_count_as_questions_and_the_last_answer_earns_thanks() -> None:
    done = ask("answered", answers=[answer("claim")])
    assert heading(messages.digest({"kind": "digest"}, [(ask(), "a"), (done, None)])).startswith("1 question,")
    assert heading(messages.digest({"kind": "digest"}, [(done, None)])) == "All done, thank you."


def test_nobody_is_greeted_by_an_email_address() -> None:
    assert "Hello." in shown(messages.digest({"kind": "digest", "name": "ana@example.com"}, [(ask(), "a")]).blocks)


def test_an_escalation_says_who_was_asked_and_when_and_blames_nobody() -> None:
    words = {"kind": "escalation", "name": "Ana Silva", "asked_at": "2026-11-02T09:00:00Z"}
    says = shown(messages.digest(words, [(ask(), "a")]).blocks)
    assert "Ana Silva was asked on Mon 2 Nov 2026, and there is no answer yet" in says
    assert not re.search(r"ignored|failed|overdue|!", says)


def test_what_has_no_room_is_looked_up_by_who_was_asked_and_follows_where_somebody_else_reads_it() -> None:
    cards = [(ask() | {"ask": ask()["ask"] | {"id": f"a{number}"}}, f"offer-{number}") for number in range(9)]
    told = shown(messages.digest({"kind": "escalation", "name": "Ana Silva"}, cards).blocks)
    assert "And 3 more questions, to follow here as these are answered." in told
    assert "/nhi mine" not in told
    of_others = {messages.OF_OTHERS: [f"a{number}" for number in range(7)], "silent_names": "Bea"}
    both = shown(messages.digest({"kind": "digest", "name": "Ana Silva"} | of_others, cards).blocks)
    assert "And 1 more question, to follow here" in both
    assert "And 2 more questions: /nhi mine shows them" in both


def test_a_preview_says_that_only_admins_hear_of_it() -> None:
    message = messages.digest({"kind": "shadow", "name": "Sam", "to": "Ana Silva"}, [(ask(), "a")])
    assert "I would ask Ana Silva this." in shown(message.blocks)
    assert message.text.startswith("Preview for admins:")


def test_go_says_how_many_people_and_identities_it_is_about() -> None:
    message = messages.golive({"people": 14, "identities": 37, "offer": "go-1"})
    assert_slack_takes(message)
    assert "I would message 14 people about 37 identities." in shown(message.blocks)
    assert [b["value"] for b in message.blocks[-1]["elements"]] == ["go-1"]
    assert "1 person about 1 identity" in messages.golive({"people": 1, "identities": 1, "offer": "g"}).text


# whois, mine, and the short ones


def test_whois_tells_the_owner_each_credential_the_findings_and_what_happened_lately() -> None:
    says = shown(messages.whois("ci", [(known(), "o")]).blocks)
    for part in (
        "arn:aws:iam::123456789012:user/ci-deploy",
        "Likely owner: Ana Silva (ana@example.com), not confirmed. Because: owner=ana@example.com; CreateUser",
        f"Access key {ACCESS_KEY}: active, last used Tue 10 Mar 2026 for s3",
        "237 days ago",
        "Lately: first seen (Thu 1 Jan 2026).",
    ):
        assert part in says


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (owner(state="none", email=None, evidence=[]), "Owner: nobody is known."),
        (
            owner(
                state="confirmed", active=True, evidence=[{"source": "claim", "fact": "", "at": "2026-11-02T09:00:00Z"}]
            ),
            "Owner: Ana Silva (ana@example.com), confirmed on Mon 2 Nov 2026.",
        ),
        (owner(state="confirmed", active=False, evidence=[]), "confirmed, but no longer active."),
    ],
)
def test_whois_says_how_sure_it_is_of_the_owner(facts: Json, sentence: str) -> None:
    assert sentence in shown(messages.whois("ci", [(known(owner=facts), "o")]).blocks)


def test_whois_shows_three_matches_in_full_and_a_line_for_each_of_the_rest() -> None:
    blocks = messages.whois("ci", [(known(), f"o{n}") for n in range(5)]).blocks
    assert len([block for block in blocks if block["type"] == "actions"]) == whois.IN_FULL == 3
    assert "And 2 more:" in shown(blocks)


def test_whois_without_a_match_says_what_to_type() -> None:
    assert "/nhi whois ci-deploy" in shown(messages.whois("zork", []).blocks)


def test_facts_without_an_ask_are_drawn_as_whois_draws_them() -> None:
    [_, *drawn] = messages.whois("ci", [(known(), "o")]).blocks
    assert messages.card(known(), "o") == drawn


def test_mine_lists_what_is_owned_and_asks_what_is_open() -> None:
    message = messages.mine([known()] * 20, [(ask(), "o")])
    assert heading(message) == "1 question for you"
    assert "You own 20 identities:" in shown(message.blocks)
    assert "Page 1 of 2. /nhi mine 2 shows the next." in shown(message.blocks)
    assert shown(messages.mine([known()] * 20, [], 2).blocks).count("in 123456789012") == 5


def test_help_tells_admins_more() -> None:
    assert "/nhi scan" in shown(messages.help(True).blocks)
    assert "/nhi scan" not in shown(messages.help(False).blocks)


def test_an_unknown_word_gets_the_nearest_known_one() -> None:
    assert messages.unknown("whoami", "whois").text == (
        "I don't know /nhi whoami. Did you mean /nhi whois? /nhi help lists what I can do."
    )


@pytest.mark.parametrize(
    ("verdict", "mode", "sentence"),
    [
        ("claim", "propose", "You are now the owner of ci-deploy."),
        ("not_mine", "propose", "The next likely owner of ci-deploy is asked."),
        ("justify", "propose", "until Mon 1 Feb 2027 has passed."),
        ("disable", "propose", "policy is to propose only"),
        ("disable", "reversible", "will be turned off within a minute."),
        ("rotate", "reversible", "security will get in touch."),
        ("undo", "reversible", "I am taking it back"),
    ],
)
def test_thanks_say_what_follows(verdict: str, mode: str, sentence: str) -> None:
    said = [answer("claim"), answer(verdict, until="2027-02-02T00:00:00Z")]
    assert sentence in messages.answered(ask("answered", answers=said, mode=mode)).text


def test_a_text_with_a_url_or_a_mention_is_read_aloud_without_either() -> None:
    text = messages.note("Ask <!here> or @channel at https://evil.example/ and *now*").text
    assert text == "Ask &lt;!here&gt; or channel at https: //evil.example/ and now"


def test_hostile_facts_really_reach_every_untrusted_place() -> None:
    assert shown(messages.card(hostile(ask(), "zork"), "o")).count("zork") >= 6
