"""`nhi review`: open, status, close, sign. What reviewers do, they do in Slack."""

from __future__ import annotations

from typing import Any

import click

from jobs import review, work
from jobs.command import as_json, example, operator, put, with_program
from jobs.program import Program
from nhi import campaigns, review_report, reviews, signing
from nhi.database import reading
from nhi.errors import SettingsError
from nhi.signing import Signer

Json = dict[str, Any]
quarter_option = click.option("--quarter", metavar="Q", help="Like 2026Q4; without it, the current one.")


@click.group("review")
def review_group() -> None:
    """The quarterly review: who says of each identity whether it is still needed."""


def _quarter(program: Program, given: str | None) -> reviews.Quarter:
    return reviews.read_quarter(given) if given else reviews.quarter_of(program.clock())


@example("nhi review open")
@review_group.command("open")
@quarter_option
@as_json
@with_program
def open_review(program: Program, quarter: str | None, as_json: bool) -> None:
    """Open this quarter's review now, on fresh data; it also opens by itself."""
    wanted, now = _quarter(program, quarter), program.clock()
    if wanted != reviews.quarter_of(now):
        raise SettingsError(f"Only the current quarter's review can be opened, that is {reviews.quarter_of(now)}")
    opened = campaigns.open_campaign(program.sessions, program.policy(), by=operator(), now=now)
    if as_json:
        put(_status(program, wanted))
    else:
        click.echo(
            f"The review of {opened.quarter} is open: {opened.items} identities, {opened.carried} of them carried over;"
            f" {opened.reviewers} reviewer{'' if opened.reviewers == 1 else 's'} will hear of it in working hours."
        )


@example("nhi review status --quarter 2026Q4 --json")
@review_group.command("status")
@quarter_option
@as_json
@with_program
def status_of_review(program: Program, quarter: str | None, as_json: bool) -> None:
    """Say how far a review is, who has how many left, and how they looked at it."""
    status = _status(program, _quarter(program, quarter))
    if as_json:
        put(status)
    else:
        show(status)


@example("nhi review close --quarter 2026Q4")
@review_group.command("close")
@quarter_option
@as_json
@with_program
def close_review(program: Program, quarter: str | None, as_json: bool) -> None:
    """Close a review for good. What nobody answered is listed and escalated, and never counts as kept."""
    wanted = _quarter(program, quarter)
    with program.sessions.begin() as session:
        review.close(session, wanted, program.policy(), by=operator(), now=program.clock())
    work.seal_review(program, str(wanted))
    work.deliver_all(program)
    status = _status(program, wanted)
    if as_json:
        put(status)
    else:
        show(status)


@example('nhi review sign --name "Dora Lind" --role CISO --words "Reviewed and accepted."')
@review_group.command("sign")
@quarter_option
@click.option("--name", prompt=True, help="Who signs.")
@click.option("--role", prompt=True, help="In which role.")
@click.option("--words", prompt=True, help="What they say of it.")
@as_json
@with_program
def sign_review(program: Program, quarter: str | None, name: str, role: str, words: str, as_json: bool) -> None:
    """Sign a closed review for management: once, under its exact figures."""
    wanted, signer = _quarter(program, quarter), Signer(name=name, role=role, words=words, by=operator())
    with program.sessions.begin() as session:
        row = signing.sign(session, wanted, signer, program.policy(), program.clock())
        review.redraw_closed(session, row.campaign_id)
    work.deliver_all(program)
    if as_json:
        put(_status(program, wanted))
    else:
        click.echo(f"Signed the review of {wanted}.")


def _status(program: Program, quarter: reviews.Quarter) -> Json:
    with reading(program.sessions) as session:
        return review_report.status(session, quarter)


def show(status: Json) -> None:
    """Print a campaign's state for people."""
    counts = status["counts"]
    click.echo(
        f"{status['quarter']}: {status['state']}, due {status['due_at'][:10]}. {counts['items']} identities:"
        f" {counts['kept']} still needed, {counts['off']} to be turned off, {counts['carried']} carried over,"
        f" {counts['gone']} gone, {counts['pending']} open, {counts['unanswered']} unanswered."
    )
    for why, count in status["left_out"].items():
        if count:
            click.echo(f"  Left out: {count}, {why}.")
    for one in status["reviewers"]:
        meter = one["quality"]
        pace = "" if meter["median_seconds"] is None else f", {meter['median_seconds']} s each"
        doubt = f" Quick: {'; '.join(meter['low'])}." if meter["low"] else ""
        again = " Asked once to look again." if one["asked_again_at"] else ""
        click.echo(
            f"  {one['email']}: {one['left']} left of {one['items']}, {meter['decided']} decided{pace}.{doubt}{again}"
        )
    if status["signature"]:
        signed = status["signature"]
        click.echo(f"  Signed by {signed['name']}, {signed['role']}, on {signed['at'][:10]}: {signed['words']}")
