"""The `nhi` command.

Exit status: 0 done; 1 failed; 2 wrong usage or settings; 3 done, but not everything was seen or handled.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jobs import cli_owners, cli_people, cli_proof, doctor, manifest, rehearse, review_cli, show, work
from jobs.command import INCOMPLETE, as_json, example, put, with_program
from jobs.logs import log_to_stderr
from jobs.program import Program, open_program
from nhi import decisions, facts, policy, settings
from nhi.database import reading
from nhi.errors import DatabaseNotReady, NhiError, SettingsError
from nhi.tables import RemediationRow


class Sentences(click.Group):
    """A group whose commands end with one sentence instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, DatabaseNotReady) as error:
            click.echo(f"nhi: {error}", err=True)
            ctx.exit(2)
        except NhiError as error:
            click.echo(f"nhi: {error}", err=True)
            ctx.exit(1)


providers_option = click.option("--provider", "only", multiple=True, metavar="P", help="Only this provider.")


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nhi-audit", prog_name="nhi")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def main(verbose: bool) -> None:
    """Audit non-human identities by asking the people who own them, in Slack."""
    log_to_stderr(20 if verbose else 30)


@example("nhi demo --port 8900 --no-browser")
@main.command()
@click.option(
    "--port", default=8900, show_default=True, help="Where the stand-in workspace is served; 0: any free one."
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def demo(port: int, no_browser: bool) -> None:
    """Try it without any account: a sample company, a stand-in cloud and a stand-in Slack on this machine."""
    try:
        from demo import app
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The demo needs the package {error.name}: install with `pip install 'nhi-audit[demo]'`, or run `make demo`"
        ) from None
    app.run(port=port, browser=not no_browser)


@example("DATABASE_URL=sqlite:///nhi.db nhi up")
@main.command()
@with_program
def up(program: Program) -> None:
    """Run bot and jobs in one process, until asked to end."""
    from jobs.up import Up, asked_to_end, exit_now

    log_to_stderr(20)
    program.settings.bot_token()
    asked = asked_to_end()
    try:
        running = Up(program)
    except OSError as error:
        raise SettingsError(
            f"Port {program.settings.port} cannot be used ({error.strerror}): set PORT to another one"
        ) from None
    running.start()
    click.echo(f"nhi is up. {running.where}", err=True)
    asked.wait()
    running.stop()
    exit_now()


@example("nhi scan --provider aws --json")
@main.command()
@providers_option
@as_json
@with_program
def scan(program: Program, only: Sequence[str], as_json: bool) -> None:
    """Look at every source: inventory, use, owners, findings. Never writes to a cloud."""
    unknown = [name for name in only if name not in program.providers]
    if unknown:
        raise SettingsError(f"--provider {unknown[0]} is not known; there are: {', '.join(program.providers)}")
    with show.progress() as on_progress:
        tally = work.scan_all(program, only=tuple(only), progress=on_progress)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(tally.sentence())
    if not tally.complete:
        if as_json:
            click.echo(tally.sentence(), err=True)
        sys.exit(INCOMPLETE)


@example("nhi findings --kind unused --owner ana@example.com --json")
@main.command()
@click.option("--kind", metavar="K", help="Only findings of this kind: unused, unowned, orphaned, unrotated.")
@click.option("--owner", metavar="EMAIL", help="Only those whose confirmed or likely owner this is.")
@providers_option
@as_json
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout; no cell can run as a formula.")
@with_program
def findings(
    program: Program, kind: str | None, owner: str | None, only: Sequence[str], as_json: bool, as_csv: bool
) -> None:
    """Show what is open."""
    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv")
    found = show.findings_of(program, kind=kind, owner=owner, providers=only)
    if as_json:
        put(found)
    elif as_csv:
        show.findings_csv(found, sys.stdout)
    else:
        show.findings_table(found)


@example("nhi whois AKIAIOSFODNN7EXAMPLE")
@main.command()
@click.argument("query", nargs=-1, required=True)
@as_json
@with_program
def whois(program: Program, query: Sequence[str], as_json: bool) -> None:
    """Tell everything known of an ARN, key id, e-mail, name, or any text that holds one."""
    text = " ".join(query)
    with reading(program.sessions) as session:
        matches = facts.whois(session, text, program.policy(), program.clock())
    if as_json:
        put({"matches": matches})
    else:
        show.whois(matches)
    if not matches:
        sys.exit(1)


@example("nhi ask --dry-run")
@main.command()
@click.option("--dry-run", is_flag=True, help="Say what would be asked; write and send nothing.")
@click.option("--to-admin", is_flag=True, help="Send every card to the admins instead.")
@as_json
@with_program
def ask(program: Program, dry_run: bool, to_admin: bool, as_json: bool) -> None:
    """Send what is due now, one message a person."""
    tally = work.ask_all(program, dry_run=dry_run, to_admin=to_admin)
    if not dry_run:
        work.deliver_all(program)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(("Would have: " if dry_run else "") + tally.sentence())


@example("nhi remediate --dry-run")
@main.command()
@click.option("--dry-run", is_flag=True, help="Say what is due; do nothing.")
@as_json
@with_program
def remediate(program: Program, dry_run: bool, as_json: bool) -> None:
    """Carry out planned remediations that are due: reversibly, one credential each. Writes to clouds."""
    tally = work.remediate_all(program, dry_run=dry_run)
    if not dry_run:
        work.deliver_all(program)
    if as_json:
        put(tally.as_json())
    else:
        click.echo(tally.sentence())
    if tally.refused or (tally.waiting and not dry_run):
        sys.exit(INCOMPLETE)


@example("nhi undo 3f2a9c")
@main.command()
@click.argument("remediation")
@as_json
@with_program
def undo(program: Program, remediation: str, as_json: bool) -> None:
    """Turn back what a remediation did. Takes its id, or the first characters of it. Writes to clouds."""
    by = f"{getpass.getuser()} on the command line"
    with program.sessions.begin() as session:
        row = decisions.find_remediation(session, remediation)
        decisions.request_undo(session, row.id, by=by, now=program.clock())
        remediation_id = row.id
    work.remediate_all(program)
    work.deliver_all(program)
    with reading(program.sessions) as session:
        done = facts.remediation_json(session.get_one(RemediationRow, remediation_id))
    if as_json:
        put(done)
    else:
        click.echo(show.undone(done))
    if done["status"] != "undone":
        sys.exit(INCOMPLETE)


main.add_command(cli_owners.owners_group)
main.add_command(cli_people.people_group)
main.add_command(cli_proof.ledger_group)
main.add_command(cli_proof.evidence_group)
main.add_command(review_cli.review_group)


@main.group("policy")
def policy_group() -> None:
    """The thresholds and the patience: policy.toml."""


@example("nhi policy check policy.toml")
@policy_group.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def policy_check(file: Path | None) -> None:
    """Read policy.toml, and say what each rule would do today."""
    chosen = settings.read()
    path = file or chosen.nhi_policy
    if file is not None and not file.exists():
        raise SettingsError(f"{file} is not there; name a policy file, or leave it out for {chosen.nhi_policy}")
    read = policy.load(path)
    program = open_program(chosen)
    try:
        rehearse.show(program, read, path)
    finally:
        program.engine.dispose()


@example("nhi doctor --json")
@main.command("doctor")
@as_json
def doctor_command(as_json: bool) -> None:
    """Say what is configured, what works, and for each failing check what to do."""
    checks = doctor.examine()
    if as_json:
        put({"checks": [check.as_json() for check in checks]})
    else:
        show.checks(checks)
    if any(check.status == "fail" for check in checks):
        sys.exit(1)


@main.group("slack")
def slack_group() -> None:
    """The Slack app."""


@example("nhi slack manifest --mode socket")
@slack_group.command("manifest")
@click.option("--mode", type=click.Choice(["socket", "http"]), default="socket", show_default=True)
@click.option(
    "--url", default="https://nhi.example.com", show_default=True, help="With --mode http: this bot's address."
)
def slack_manifest(mode: str, url: str) -> None:
    """Print the app's manifest (JSON), and on stderr a link that creates the app from it."""
    document = manifest.manifest(mode, url)
    put(document)
    click.echo(f"Create the app: {manifest.link(document)}", err=True)


if __name__ == "__main__":
    main()
