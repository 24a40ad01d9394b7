"""`nhi demo`, `nhi up`, `nhi migrate`, `nhi doctor` and `nhi slack`: getting it running, and keeping it well."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from jobs import doctor, manifest, show
from jobs.command import as_json, example, put, with_program
from jobs.logs import log_to_stderr
from jobs.program import Program
from nhi import database, settings
from nhi.errors import SettingsError


@example("nhi demo --port 8900 --no-browser")
@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8900,
    show_default=True,
    help="Where the stand-in workspace is served; 0: any free one.",
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
@click.command()
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


@example("DATABASE_URL=postgresql://nhi@db/nhi nhi migrate")
@click.command()
def migrate() -> None:
    """Bring the database's schema up to date: on PostgreSQL at each release; SQLite does it by itself."""
    chosen = settings.read()
    engine = database.open_engine(chosen.database_url)
    try:
        done = database.migrate(engine, chosen.database_url)
    finally:
        engine.dispose()
    click.echo("The schema is up to date now." if done else "The schema was up to date already.")


@example("nhi doctor --json")
@click.command("doctor")
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


@click.group("slack")
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
    if mode == "http" and not (url.startswith("https://") and urlsplit(url).hostname):
        raise SettingsError(f"--url {url} is no address that Slack can send to; give one like https://nhi.example.com")
    document = manifest.manifest(mode, url)
    put(document)
    click.echo(f"Create the app: {manifest.link(document)}", err=True)
