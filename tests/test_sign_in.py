"""A sign-in as the second proof: the real app over HTTP, the stand-in Slack, and a small identity provider."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr
from slack_sdk import WebClient
from sqlalchemy import select

from bot.server import Serving
from demo.actor import Actor
from demo.workspace import Workspace
from jobs import doctor
from nhi import oidc, sign_ins, step_up
from nhi.database import Sessions, reading
from nhi.errors import SettingsError
from nhi.policy import Policy, parse
from nhi.remediation import RemediationStatus
from nhi.settings import Settings
from nhi.tables import EventRow, PersonRow, SignInRow, StepUpRow
from tests.conftest import Clock, on_sqlite
from tests.fake_oidc import Provider
from tests.test_second import KEY, Desk

AWAITING, PLANNED = RemediationStatus.AWAITING, RemediationStatus.PLANNED
PUBLIC = "http://127.0.0.1:1"  # what browsers are told; these tests go to the port that the server really has


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def policy() -> Policy:
    return parse(
        {
            "people": {"admins": ["dora@example.com"], "domains": ["example.com"]},
            "conversation": {"shadow": False},
            "remediation": {"mode": "reversible", "step_up": "privileged"},
        }
    )


@pytest.fixture
def provider(clock: Clock) -> Iterator[Provider]:
    with Provider(clock) as running:
        yield running


@pytest.fixture
def settings(settings: Settings, provider: Provider) -> Settings:
    named: dict[str, Any] = {
        "nhi_oidc_issuer": provider.issuer,
        "nhi_oidc_client_id": provider.client_id,
        "nhi_oidc_client_secret": SecretStr(provider.secret),
        "nhi_public_url": f"{PUBLIC}/",
    }
    return settings.model_copy(update=named)


class Browser:
    """Somebody's browser: it keeps one cookie, and follows no redirect by itself."""

    def __init__(self, server: Serving) -> None:
        self._server, self.cookie = server, ""

    def get(self, address: str) -> tuple[int, str, str]:
        """Return status, text and Location. What is at the bot's public address is asked of the bot."""
        parts = urlsplit(address)
        port = self._server.port if address.startswith(PUBLIC) else parts.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            ours = {"Cookie": self.cookie} if address.startswith(PUBLIC) and self.cookie else {}
            connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=ours)
            answer = connection.getresponse()
            if address.startswith(PUBLIC) and (set_cookie := answer.getheader("Set-Cookie")):
                self.cookie = set_cookie.partition(";")[0]
            return answer.status, answer.read().decode(), answer.getheader("Location") or ""
        finally:
            connection.close()

    def sign_in(self, link: str) -> tuple[int, str, str]:
        """Go the whole way; return status and text of its end, and the address of the way back."""
        status, text, there = self.get(link)
        if status != 302:
            return status, text, ""
        back = self.get(there)[2]
        status, text, _ = self.get(back)
        return status, text, back


class Door:
    """Ana, with the form open that asks for a proof."""

    def __init__(self, desk: Desk, server: Serving, provider: Provider) -> None:
        self.desk, self.server, self.provider = desk, server, provider
        self.ana = desk.workspace.as_("ana")
        self.ana.click(self.ana.last(), "nhi:disable")
        self.ana.wait_for(lambda: self.ana.modal)

    def link(self, actor: Actor | None = None) -> str:
        view = (actor or self.ana).modal
        assert view is not None
        buttons = [one for block in view["blocks"] if block["type"] == "actions" for one in block["elements"]]
        return next(str(one["url"]) for one in buttons if one["action_id"] == "nhi:sign_in")

    def browser(self) -> Browser:
        return Browser(self.server)

    def proofs(self) -> list[str]:
        with reading(self.desk.sessions) as session:
            return list(session.scalars(select(StepUpRow.email)))


@pytest.fixture
def door(
    server: Serving,
    workspace: Workspace,
    sessions: Sessions,
    client: WebClient,
    policy: Policy,
    clock: Clock,
    provider: Provider,
) -> Door:
    return Door(Desk(workspace, sessions, client, policy, clock), server, provider)


@on_sqlite
def test_an_act_takes_a_sign_in_of_both_people_and_no_code_where_only_a_provider_is_named(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    desk, ana, browser = door.desk, door.ana, door.browser()
    assert ana.modal is not None
    assert "code" not in [block.get("block_id") for block in ana.modal["blocks"]]
    link = door.link()
    assert "prove first" in str(ana.submit())
    status, page, back = browser.sign_in(link)
    assert (status, "go back to Slack" in page) == (200, True)
    assert browser.cookie == "nhi_step_up="
    assert ana.submit() == {}
    desk.drain()
    assert desk.status() is AWAITING
    dora, asked = desk.question()
    dora.click(asked, "nhi:agree")
    dora.wait_for(lambda: dora.modal)
    dora.submit()
    assert desk.status() is AWAITING  # she did not sign in
    dora.close_modal()
    door.provider.email = "Dora@Example.com"
    assert door.browser().sign_in(door.link(dora))[0] == 200
    assert dora.submit() == {}
    assert desk.status() is PLANNED
    with reading(desk.sessions) as session:
        facts = [row.body for row in session.scalars(select(EventRow).where(EventRow.kind == "step_up.done"))]
        kept = str([{**vars(row)} for row in session.scalars(select(SignInRow))])
    assert ['"by":"sign_in"' in body for body in facts] == [True, True]
    secrets = [
        link.rpartition("/")[2],
        *(value for values in parse_qs(urlsplit(back).query).values() for value in values),
    ]
    assert len(secrets) == 3
    assert [secret for secret in secrets if secret in kept or secret in caplog.text] == []


@on_sqlite
def test_a_sign_in_is_good_for_one_act_for_five_minutes_and_its_link_once(door: Door) -> None:
    link, browser = door.link(), door.browser()
    assert browser.sign_in(link)[0] == 200
    with reading(door.desk.sessions) as session:
        proof = session.scalars(select(StepUpRow)).one()
        assert (proof.email, proof.until - proof.at) == ("ana@example.com", timedelta(minutes=5))
    assert "was used already" in browser.sign_in(link)[1]
    door.desk.clock.pass_by(minutes=5, seconds=1)
    assert "prove first" in str(door.ana.submit())
    assert door.desk.status() is None


@on_sqlite
def test_a_way_back_is_taken_once_and_only_in_the_browser_that_began(door: Door) -> None:
    link, browser, other = door.link(), door.browser(), door.browser()
    back = browser.get(browser.get(link)[2])[2]
    assert other.get(back)[0] == 400  # another browser, without the cookie
    assert browser.get(link)[0] == 302  # begun anew: the first way back is worth nothing
    assert browser.get(back)[0] == 400
    assert door.proofs() == []
    again = browser.get(browser.get(link)[2])[2]
    assert other.get(again)[0] == 400  # and takes nothing from the one that began
    assert (browser.get(again)[0], browser.get(again)[0]) == (200, 400)
    assert len(door.proofs()) == 1
    door.desk.clock.pass_by(minutes=16)
    assert door.browser().get(link)[0] == 400
    assert door.browser().get(f"{PUBLIC}/step-up/anything?next=https://example.org")[2] == ""


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"aud": "another"}, "meant for another program"),
    ({"aud": ["nhi", "another"], "azp": "another"}, "meant for another program"),
    ({"iss": "http://127.0.0.1:2"}, "another provider"),
    ({"nonce": None}, "belongs to another sign-in"),
    ({"nonce": "another"}, "belongs to another sign-in"),
    ({"exp": 1}, "has expired"),
    ({"exp": None}, "not signed as it should be"),
    ({"auth_time": None}, "does not say when"),
    ({"auth_time": 1}, "an older one"),
    ({"email": "bea@example.com"}, "as somebody else"),
    ({"email_verified": None}, "does not vouch"),
    ({"email_verified": False}, "does not vouch"),
]


@on_sqlite
def test_what_a_provider_says_that_is_not_of_this_person_now_proves_nothing(door: Door) -> None:
    link, browser = door.link(), door.browser()
    for changes, words in WRONG:
        door.provider.changes = changes
        status, page, _ = browser.sign_in(link)
        assert (status, words in page) == (400, True), (changes, page)
    assert door.proofs() == []
    door.provider.changes = {}
    assert browser.sign_in(link)[0] == 200  # the link was spent by none of them
    with reading(door.desk.sessions) as session:
        failures = list(session.scalars(select(EventRow.seq).where(EventRow.kind == "step_up.failed")))
    assert len(failures) == len(WRONG)


@on_sqlite
def test_only_keys_that_the_provider_publishes_count_and_new_ones_are_found(door: Door) -> None:
    link, browser, provider = door.link(), door.browser(), door.provider
    provider.signs_with = "two"
    assert "does not publish" in browser.sign_in(link)[1]
    provider.key_ids = ["one", "two"]
    assert "does not publish" in browser.sign_in(link)[1]  # asked again a minute later
    door.desk.clock.pass_by(seconds=61)
    assert browser.sign_in(link)[0] == 200
    provider.metadata = {"issuer": "http://127.0.0.1:2"}
    door.desk.clock.pass_by(hours=1)
    with pytest.raises(oidc.SignInFailed, match="another name"):
        oidc.Issuer(oidc.Client(issuer=provider.issuer, client_id="nhi", secret=None, public_url=PUBLIC)).metadata(
            door.desk.clock()
        )


class TestBothWays:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"nhi_step_up_key": SecretStr(KEY)})

    @on_sqlite
    def test_where_both_ways_are_set_up_a_code_does_as_well(
        self, server: Serving, workspace: Workspace, sessions: Sessions, client: WebClient, clock: Clock, policy: Policy
    ) -> None:
        desk = Desk(workspace, sessions, client, policy, clock)
        ana, totp = workspace.as_("ana"), desk.enrol("ana")
        ana.click(ana.last(), "nhi:disable")
        ana.wait_for(lambda: ana.modal)
        assert "or to type the code" in str(ana.modal)
        assert "prove first" in ana.submit({"code": ""})["code"]
        assert ana.submit({"code": "000000"})["code"] == step_up.why_not(step_up.Proof.WRONG)
        assert ana.submit({"code": desk.code(totp)}) == {}
        assert desk.status() is AWAITING


@on_sqlite
def test_the_doctor_says_where_people_sign_in_and_what_is_wrong_with_it(settings: Settings, provider: Provider) -> None:
    well = doctor._step_up(settings)
    assert (well.status, f"{PUBLIC}/step-up/callback" in well.detail, "codes" in well.detail) == ("ok", True, False)
    provider.metadata = {"token_endpoint": "http://idp.example.com/token"}
    assert "token_endpoint" in doctor._step_up(settings).detail
    lost = settings.model_copy(update={"nhi_oidc_issuer": "http://127.0.0.1:1"})
    assert (doctor._step_up(lost).status, "cannot be reached" in doctor._step_up(lost).detail) == ("fail", True)


@on_sqlite
def test_links_that_are_over_are_cleared_away(door: Door) -> None:
    door.link()
    door.desk.clock.pass_by(days=2)
    with door.desk.sessions.begin() as session:
        sign_ins.link(session, session.get_one(PersonRow, "UANA"), "another act", door.desk.clock())
    with reading(door.desk.sessions) as session:
        assert list(session.scalars(select(SignInRow.about))) == ["another act"]


def test_half_of_the_settings_is_an_error_that_names_the_other_half() -> None:
    half = Settings(_env_file=None, nhi_oidc_issuer="https://idp.example.com", nhi_oidc_client_id="nhi")
    with pytest.raises(SettingsError, match="NHI_PUBLIC_URL"):
        oidc.client_of(half)
    with pytest.raises(SettingsError, match="https://"):
        oidc.client_of(half.model_copy(update={"nhi_public_url": "http://nhi.example.com"}))
