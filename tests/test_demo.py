"""`nhi demo` in a real browser, as a newcomer sees it: the page, the bot, the jobs and the stand-in cloud behind it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from demo.app import Demo
from tests.browsers import CHROMIUM, needs_a_browser
from tests.jobs_world import AWS

PATIENCE = 30_000  # milliseconds
pytestmark = needs_a_browser


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The demo, running as `nhi demo` runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        with Demo() as running:
            running.begin()
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    """The page, open as Ana. Whatever the browser's console calls an error fails the test."""
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(demo.workspace.url)
    yield page
    page.close()
    assert wrong == []


def say(page: Page, words: str) -> None:
    page.get_by_test_id("composer").fill(words)
    page.get_by_test_id("composer").press("Escape")  # the list of commands that opened
    page.get_by_test_id("send").click()


def key_in_panel(page: Page, name: str) -> Locator:
    return page.locator(f'.thing[data-title="{name}"]').first


def test_ana_turns_a_key_off_and_on_again_and_whois_tells_both(demo: Demo, page: Page, tmp_path: Path) -> None:
    (key_id,) = demo._key_ids["ci-deploy"]
    card = page.get_by_test_id("message").filter(has_text="ci-deploy").first
    expect(card).to_contain_text("Why you")
    expect(key_in_panel(page, "ci-deploy")).to_have_attribute("data-status", "Active")
    page.screenshot(path=tmp_path / "card.png")

    card.get_by_role("button", name=re.compile("^Disable: ci-deploy")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("ci-deploy")
    page.screenshot(path=tmp_path / "dialog.png")
    dialog.get_by_role("button", name="Disable").click()
    expect(key_in_panel(page, "ci-deploy")).to_have_attribute("data-status", "Inactive")
    assert demo.cloud.key_status(key_id) == "Inactive"

    expect(card).to_contain_text("turned off (")  # until then Undo would find nothing to undo
    undo = card.get_by_role("button", name=re.compile("^Undo")).first
    page.screenshot(path=tmp_path / "disabled.png")
    undo.click()
    expect(key_in_panel(page, "ci-deploy")).to_have_attribute("data-status", "Active")
    assert demo.cloud.key_status(key_id) == "Active"

    expect(card).to_contain_text("turned back on (")

    say(page, "/nhi whois ci-deploy")
    told = page.get_by_test_id("message").last
    expect(told).to_contain_text("ci-deploy")
    expect(told).to_contain_text(re.compile("turned off|disabled", re.IGNORECASE))
    expect(told).to_contain_text(re.compile("turned (back )?on|undo", re.IGNORECASE))
    page.screenshot(path=tmp_path / "whois.png")


def test_next_day_turns_the_calendar_and_nothing_off(demo: Demo, page: Page) -> None:
    before = page.get_by_test_id("today").text_content()
    statuses = [key["status"] for key in demo.workspace.world_rows()]
    page.get_by_test_id("next-day").click()
    expect(page.get_by_test_id("today")).not_to_have_text(before or "")
    assert demo.clock().weekday() < 5
    assert [key["status"] for key in demo.workspace.world_rows()] == statuses


def test_dora_can_be_asked_who_owns_what_nobody_owns(page: Page) -> None:
    page.get_by_test_id("person-dora").click()
    page.get_by_test_id("room-bot").click()
    say(page, "/nhi whois old-jenkins")
    expect(page.get_by_test_id("message").filter(has_text="old-jenkins").last).to_be_visible()


def test_the_hostile_tag_arrives_as_text(page: Page) -> None:
    page.get_by_test_id("person-dora").click()
    page.get_by_test_id("room-bot").click()
    say(page, "/nhi whois hostile-tag")
    told = page.get_by_test_id("message").filter(has_text="hostile-tag").last
    expect(told).to_be_visible()
    assert told.locator("a[href*='evil.example']").count() == 0


def test_a_demo_that_is_ended_at_once_ends_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "demo", "--port", "0", "--no-browser"],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(2)]
    assert re.fullmatch(r"The stand-in workspace is at http://127\.0\.0\.1:\d+\n", said[0])
    assert said[1] == "Try this:\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_port_that_is_taken_is_one_sentence_and_the_machines_own_aws_settings_and_proxy_count_for_nothing(
    tmp_path: Path,
) -> None:
    strange = {"AWS_DEFAULT_PROFILE": "work", "AWS_USE_FIPS_ENDPOINT": "true", "HTTP_PROXY": "http://127.0.0.1:9"}
    words = [sys.executable, "-m", "jobs.cli", "demo", "--no-browser", "--port"]
    root = Path(__file__).resolve().parent.parent
    first = subprocess.Popen([*words, "0"], cwd=root, env=os.environ | strange, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        port = first.stdout.readline().strip().rpartition(":")[2]
        second = subprocess.run([*words, port], check=False, cwd=root, capture_output=True, text=True, timeout=90)
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.startswith(f"nhi: Port {port} cannot be used (")
    assert second.stderr.count("\n") == 1
