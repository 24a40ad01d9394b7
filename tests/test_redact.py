"""Secrets in text that people or clouds wrote, and text fit for showing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings

from nhi.redact import holds_secret, one_line, redact, tidy
from tests.strategies import HOSTILE_TEXTS

# Put together from pieces, so that this file holds nothing that a scanner for secrets would stop at.
SECRETS = {
    "slack bot token": "xox" + "b-123456789012-abcdefghijkl",
    "slack user token": "xox" + "p-123456789012-abcdefghijkl",
    "slack refresh token": "xox" + "e.xoxp-1-abcdefghijkl",
    "slack app token": "xap" + "p-1-A0123456789-abcdef",
    "aws key id": "AKI" + "AIOSFODNN7EXAMPLE",
    "aws session key id": "ASI" + "AIOSFODNN7EXAMPLE",
    "aws secret": "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
    "github token": "gh" + "p_0123456789abcdefghijABCDEFGHIJ012345",
    "github server token": "gh" + "s_0123456789abcdefghijABCDEFGHIJ012345",
    "github fine-grained token": "github" + "_pat_0123456789abcdefghij_ABC",
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----",
    "pem without its end": "-----BEGIN " + "PRIVATE KEY-----\nMIIEow\nabc",
    "pgp key": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\nlQOYBF\nabc\n-----END PGP PRIVATE KEY BLOCK-----",
    "slack browser token": "xox" + "c-123456789012-abcdefghijkl",
    "slack webhook": "https://hooks.slack" + ".com/services/T00000000/B00000000/abcdefghijklABCDEFGHIJKL",
    "google api key": "AIz" + "aSyA0123456789abcdefghijABCDEFGHIJ01",
    "google access token": "ya2" + "9.a0AfH6SMBabcdefghij",
    "google client secret": "GOC" + "SPX-abcdefghijABCDEFGHIJ",
    "gitlab token": "glp" + "at-abcdefghij0123456789",
    "npm token": "np" + "m_abcdefghij0123456789ABCDEFGHIJ012345",
    "stripe key": "sk_" + "live_abcdefghij0123456789",
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_of_secret_is_found_and_taken_out_wherever_it_stands(kind: str) -> None:
    secret = SECRETS[kind]
    for text in (secret, f"key: {secret}", f'"{secret}"', f"SECRET={secret}", f"see\n{secret}\n"):
        assert holds_secret(text)
        assert secret not in redact(text)
        assert "[redacted]" in redact(text)
        assert not holds_secret(redact(text))


@pytest.mark.parametrize(
    "text",
    [
        "It deploys the website every night; ask Ana before you turn it off.",
        "arn:aws:iam::123456789012:user/ci-deploy",
        "https://wiki.example.com/runbooks/deployments/website-production-nightly",
        "0123456789abcdef0123456789abcdef01234567",  # a git commit
        "xoxo, Ana",
        "AKIA",
        "",
    ],
)
def test_plain_words_names_links_and_commits_are_left_alone(text: str) -> None:
    assert not holds_secret(text)
    assert redact(text) == text


def test_a_key_cut_up_by_invisible_characters_is_still_taken_out() -> None:
    cut = "\u200b".join(SECRETS["aws key id"])

    assert tidy(f"see {cut}") == "see [redacted]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\n lines\t", "two lines"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("a\0b\x1b[31mc", "ab[31mc"),
        ("\ud800x", "x"),
        ("\u200b\u200b", ""),
        ("\u200b hi \u200b", "hi"),
    ],
)
def test_tidy_text_is_one_line_without_control_bidi_or_invisible_characters(text: str, shown: str) -> None:
    assert tidy(text) == one_line(text) == shown


def test_tidy_text_is_cut_with_an_ellipsis_at_its_length_and_not_before() -> None:
    assert tidy("x" * 10, 10) == "x" * 10
    assert tidy("x" * 11, 10) == "x" * 9 + "…"


@settings(max_examples=200, deadline=None)
@given(text=HOSTILE_TEXTS)
def test_any_text_becomes_fit_for_showing(text: str) -> None:
    shown = tidy(text, 50)

    assert len(shown) <= 50
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in shown)
    assert tidy(shown, 50) == shown
    shown.encode()
