"""The page of the stand-in workspace in a real browser, with a Bolt app behind it."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from slack_bolt import App
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_sdk import WebClient

from demo.workspace import Person, Workspace
from tests.browsers import CHROMIUM, needs_a_browser
from tests.workspace_world import serving

Json = dict[str, Any]

pytestmark = needs_a_browser

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> <script>document.title='taken'</script>"


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Json:
    return {"type": "mrkdwn", "text": text}


SURE = {"title": plain("Disable it?"), "text": mrkdwn("It *stops*."), "confirm": plain("Yes"), "deny": plain("No")}
CARD: list[Json] = [
    {"type": "header", "text": plain("A key that nobody uses")},
    {
        "type": "section",
        "text": plain(HOSTILE),
        "fields": [mrkdwn("*Key*\n`AKIA`"), mrkdwn("<javascript:alert(1)|no link>")],
    },
    {
        "type": "actions",
        "elements": [
            {"type": "button", "action_id": "disable", "text": plain("Disable"), "style": "danger", "confirm": SURE},
            {"type": "button", "action_id": "justify", "text": plain("Justify")},
        ],
    },
]
MODAL: Json = {
    "type": "modal",
    "callback_id": "why",
    "title": plain("Why keep it?"),
    "submit": plain("Keep"),
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": plain("Reason"),
            "element": {"type": "plain_text_input", "action_id": "text", "min_length": 5},
        },
        {
            "type": "input",
            "block_id": "until",
            "label": plain("Until when?"),
            "element": {"type": "datepicker", "action_id": "date"},
        },
        {
            "type": "input",
            "block_id": "kind",
            "label": plain("What is it for?"),
            "element": {
                "type": "radio_buttons",
                "action_id": "kind",
                "options": [{"text": plain("A rare job"), "value": "rare"}, {"text": plain("Other"), "value": "other"}],
            },
        },
    ],
}


class World:
    """The pretend company: a clock, one key, and what the app was told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
        self.status = "Active"
        self.submitted: list[Json] = []

    def rows(self) -> list[Json]:
        return [{"title": "ci-deploy", "subtitle": "AKIA", "status": self.status}]

    def turn(self) -> None:
        self.now += timedelta(days=1)


def build(client: WebClient, world: World, signing_secret: str) -> App:
    logger = logging.getLogger("test.bolt")
    logger.setLevel(logging.CRITICAL)
    app = App(client=client, signing_secret=signing_secret, logger=logger)

    @app.action("disable")
    def disable(ack: Any, body: Json, client: WebClient) -> None:
        ack()
        world.status = "Inactive"
        done = [{"type": "section", "text": mrkdwn("*Disabled* by you.")}]
        client.chat_update(channel=body["channel"]["id"], ts=body["message"]["ts"], text="Done", blocks=done)

    @app.action("justify")
    def justify(ack: Any, body: Json, client: WebClient) -> None:
        ack()
        client.views_open(trigger_id=body["trigger_id"], view=MODAL)

    @app.view("why")
    def why(ack: Any, view: Json) -> None:
        if view["state"]["values"]["why"]["text"]["value"] == "because":
            ack(response_action="errors", errors={"why": "Say more than that."})
            return
        world.submitted.append(view["state"]["values"])
        ack()

    @app.command("/nhi")
    def command(ack: Any, command: Json) -> None:
        ack(f"You asked for {command['text']}.")

    @app.event("message")
    def message() -> None:
        """Take what people say, and say nothing."""

    @app.event("app_home_opened")
    def home(event: Json, client: WebClient) -> None:
        view = {"type": "home", "blocks": [{"type": "header", "text": plain("Yours")}]}
        client.views_publish(user_id=event["user"], view=view)

    return app


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def slack(world: World) -> Iterator[Workspace]:
    people = [Person(name="ana", real_name="Ana Diaz"), Person(name="bo", real_name="Bo Lindqvist")]
    with Workspace(
        people, now=lambda: world.now, world=world.rows, on_next_day=world.turn, hints=["Type `/nhi mine`."]
    ) as workspace:
        client = WebClient(token=workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])
        with serving(workspace, SlackRequestHandler(build(client, world, workspace.signing_secret))):
            client.chat_postMessage(channel="UANA", text="A card", blocks=CARD)
            yield workspace


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, slack: Workspace) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(5000)
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.goto(f"{slack.url}/#as=UANA")
    expect(page.get_by_test_id("message")).to_have_count(1)
    yield page
    page.close()
    assert mistakes == []


def test_what_a_message_holds_stays_text(page: Page) -> None:
    card = page.get_by_test_id("message")
    expect(card).to_contain_text("<script>document.title='taken'</script>")
    expect(card.locator("img, script, a")).to_have_count(0)
    assert "taken" not in page.title()


def test_a_press_is_confirmed_and_the_cloud_beside_shows_it(page: Page, world: World) -> None:
    key = page.locator("[data-title=ci-deploy]")
    expect(key).to_have_attribute("data-status", "Active")
    page.get_by_role("button", name="Disable").click()
    page.get_by_test_id("confirm-no").click()
    assert world.status == "Active"
    page.get_by_role("button", name="Disable").click()
    page.get_by_test_id("confirm-yes").click()
    expect(page.get_by_test_id("message")).to_contain_text("Disabled by you.")
    expect(key).to_have_attribute("data-status", "Inactive")


def test_a_form_shows_its_errors_and_keeps_the_focus_inside(page: Page, world: World) -> None:
    page.get_by_role("button", name="Justify").click()
    form = page.get_by_role("dialog", name="Why keep it?")
    expect(form.get_by_label("Reason")).to_be_focused()
    form.get_by_role("button", name="Keep").click()
    expect(form.get_by_text("Please complete this required field.")).to_have_count(3)
    form.get_by_label("Reason").fill("because")
    form.get_by_label("Until when?").fill("2026-12-31")
    form.get_by_label("A rare job").check()
    form.get_by_role("button", name="Keep").click()
    expect(form).to_contain_text("Say more than that.")
    expect(form.get_by_label("Reason")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Reason").fill("It deploys once a year.")
    page.keyboard.press("Enter")
    expect(form).to_be_hidden()
    values = world.submitted[0]
    assert values["until"]["date"]["selected_date"] == "2026-12-31"
    assert values["kind"]["kind"]["selected_option"]["value"] == "rare"


def test_escape_closes_a_form(page: Page, slack: Workspace) -> None:
    page.get_by_role("button", name="Justify").click()
    expect(page.get_by_role("dialog", name="Why keep it?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("modal")).to_be_hidden()
    assert slack.as_("ana").modal is None


def test_a_command_is_suggested_sent_and_answered(page: Page) -> None:
    page.get_by_role("button", name="/nhi mine").click()
    typed = page.get_by_test_id("composer")
    expect(typed).to_have_value("/nhi mine")
    typed.fill("/nhi wh")
    expect(page.get_by_role("option")).to_have_count(1)
    typed.press("Tab")
    typed.press_sequentially("AKIA")
    typed.press("Enter")
    reply = page.get_by_test_id("message").last
    expect(reply).to_contain_text("You asked for whois AKIA.")
    expect(reply).to_contain_text("Only visible to you")


def test_what_did_not_change_is_not_drawn_again(page: Page, slack: Workspace) -> None:
    page.evaluate("document.querySelector('[data-testid=message]').dataset.marked = 'yes'")
    page.get_by_role("button", name="Justify").focus()
    slack.as_("ana").say("Something new")
    expect(page.get_by_test_id("message")).to_have_count(2)
    expect(page.locator("[data-marked=yes]")).to_have_count(1)
    expect(page.get_by_role("button", name="Justify")).to_be_focused()


def test_another_person_sees_another_workspace(page: Page, slack: Workspace) -> None:
    page.get_by_test_id("person-bo").click()
    expect(page.get_by_test_id("message")).to_have_count(0)
    page.get_by_test_id("tab-home").click()
    expect(page.get_by_test_id("home")).to_contain_text("Yours")
    page.get_by_test_id("next-day").click()
    expect(page.get_by_test_id("today")).to_contain_text("6 October 2026")
