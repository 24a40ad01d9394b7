"""Read the directories of people that are configured: Slack's every day, and the identity provider's over SCIM."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from bot import directory
from jobs import periods, scim
from jobs.program import Program
from nhi.database import reading
from nhi.errors import SettingsError
from nhi.identity import Gap
from nhi.tables import DirectoryPullRow

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What one look at the directories saw."""

    people: int
    scim: scim.Tally | None  # None: policy names no identity provider
    gaps: tuple[Gap, ...]

    def as_json(self) -> dict[str, Any]:
        gaps = [{"scope": gap.scope, "reason": gap.reason} for gap in self.gaps]
        return {"slack": self.people, "scim": self.scim.people if self.scim else None, "gaps": gaps}

    def sentence(self) -> str:
        """Return the run's account."""
        text = f"Read {self.people} people in Slack." + (f" {self.scim.sentence()}" if self.scim else "")
        others = [gap for gap in self.gaps if gap.scope != scim.SCOPE]
        return text + "".join(f" Could not see {gap.scope} ({gap.reason})." for gap in others)


def pull(program: Program) -> Pulled:
    """Read every directory. Raises SettingsError where the identity provider's token is not set."""
    policy, now = program.policy(), program.clock()
    seen, gaps = directory.pull(program.sessions, program.slack, now) if program.slack is not None else (0, ())
    told = None
    if policy.people.scim_url is not None:
        token = program.settings.nhi_scim_token
        if token is None:
            raise SettingsError("NHI_SCIM_TOKEN is not set: `people.scim_url` needs it, in the environment or in .env")
        told = scim.pull(program.sessions, policy.people.scim_url, token.get_secret_value(), now)
    return Pulled(people=seen, scim=told, gaps=gaps + (told.gaps if told else ()))


def tick(program: Program) -> None:
    """Read the directories once a day; what a limit cut short goes on at the next tick."""
    with reading(program.sessions) as session:
        at = session.get(DirectoryPullRow, directory.SLACK)
        cut_short = at is not None and bool(at.cursor)
    if cut_short and program.slack is not None:
        directory.pull(program.sessions, program.slack, program.clock())
    today = f"{program.clock():%Y-%m-%d}"
    periods.once(program.sessions, "people", today, lambda: _logged(pull(program)), program.clock)


def _logged(pulled: Pulled) -> str:
    sentence = pulled.sentence()
    log.info(sentence)
    return sentence
