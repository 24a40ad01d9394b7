"""E-mail address or Slack id -> Slack person, kept as rows: who may be asked, and who may answer.

Who was looked up is not looked up again for `max_age`, and who was not found not for an hour. Where Slack cannot tell,
that is a Gap, and people stay as they are known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from bot.slack import UNWELL, Json, Kind, Trouble, is_shut, shut, trouble
from nhi import roster
from nhi.database import Sessions, reading
from nhi.identity import Aspect, Gap
from nhi.records import storable
from nhi.tables import DirectoryPullRow, GateRow, PersonRow

MISSED_FOR = timedelta(hours=1)
PAUSE = timedelta(minutes=1)  # of all look-ups, where Slack is in trouble and does not say how long
LOOKUPS = "slack lookups"
SCOPE = "slack/users"
_SLACK_ID = re.compile(r"[UW][A-Z0-9]{2,20}")
_NOBODY = frozenset(["users_not_found", "user_not_found", "user_not_visible"])
_GATES_KEPT = timedelta(days=1)
SLACK = "slack"
A_PAGE = 200  # what Slack recommends
PAGES_AT_ONCE = 15  # a minute's worth of the 20 calls that tier 2 allows


def refresh(
    sessions: Sessions,
    client: WebClient,
    names: Iterable[str],
    now: datetime,
    max_age: timedelta = timedelta(hours=24),
) -> tuple[Gap, ...]:
    """Look up whoever of these is not known, or was looked up longer than `max_age` ago.

    `names` are e-mail addresses or Slack ids; anything else cannot be looked up by itself and is passed over. Returns
    a Gap where Slack could not be asked.
    """
    wanted = _wanted(sessions, names, now, max_age)
    if not wanted:
        return ()
    with reading(sessions) as session:
        if is_shut(session, LOOKUPS, now):
            return (_gap("Slack asked us to wait"),)
    try:
        search = _Search(sessions=sessions, client=client, now=now, team_id=str(client.auth_test()["team_id"]))
        for name in wanted:
            search.look_up(name)
    except UNWELL as error:
        what = trouble(error)
        with sessions.begin() as session:
            shut(session, LOOKUPS, now + (what.retry_after or PAUSE), what.code)
        return (_gap(f"{what.code}: users could not be looked up"),)
    return ()


def _gap(reason: str) -> Gap:
    return Gap(scope=SCOPE, reason=reason, hides=frozenset([Aspect.OWNER]))


def _wanted(sessions: Sessions, names: Iterable[str], now: datetime, max_age: timedelta) -> list[str]:
    """Return which of the names have to be asked for, in a steady order, each once."""
    usable = dict.fromkeys(name for name in map(_normal, names) if name)
    wanted = []
    with sessions.begin() as session:
        session.execute(delete(GateRow).where(GateRow.not_before < now - _GATES_KEPT))
        for name in usable:
            known = session.scalar(select(func.max(PersonRow.checked_at)).where(_is(name)))
            if (known is None or known <= now - max_age) and not is_shut(session, _missed(name), now):
                wanted.append(name)
    return wanted


def _normal(name: str) -> str | None:
    name = name.strip().removeprefix("mailto:")
    if _SLACK_ID.fullmatch(name):
        return name
    return name.lower() if re.fullmatch(r"[^@\s]+@[^@\s]+", name) and len(name) <= 320 else None


def _is(name: str):  # type: ignore[no-untyped-def]
    return or_(PersonRow.slack_id == name, PersonRow.email == name)


def _missed(name: str) -> str:
    return f"nobody {hashlib.sha256(name.encode()).hexdigest()[:40]}"


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One run of look-ups. Each answer is written down at once, so that a limit half-way loses nothing."""

    sessions: Sessions
    client: WebClient
    now: datetime
    team_id: str

    def look_up(self, name: str) -> None:
        user = self._ask_for(name)
        former = self._rows_of(name, but=user["id"] if user else "")
        # Who had this address may have another one now, or have left: their own id tells.
        again = [(slack_id, self._ask_for(slack_id)) for slack_id in former]
        with self.sessions.begin() as session:
            if user:
                _write(session, user, name, self.team_id, self.now)
            elif not former:
                shut(session, _missed(name), self.now + MISSED_FOR, "users_not_found")
            for slack_id, found in again:
                if found:
                    _write(session, found, "", self.team_id, self.now)
                else:
                    gone = update(PersonRow).where(PersonRow.slack_id == slack_id)
                    session.execute(gone.values(active=False, checked_at=self.now))

    def _ask_for(self, name: str) -> Json | None:
        """Return Slack's user object; None: there is nobody."""
        try:
            if "@" in name:
                user: Json = self.client.users_lookupByEmail(email=name)["user"]
            else:
                user = self.client.users_info(user=name)["user"]
        except SlackApiError as error:
            if trouble(error).kind is Kind.GONE and trouble(error).code in _NOBODY:
                return None
            raise
        return user

    def _rows_of(self, name: str, but: str) -> list[str]:
        with reading(self.sessions) as session:
            known = select(PersonRow.slack_id).where(_is(name), PersonRow.slack_id != but)
            return list(session.scalars(known.order_by(PersonRow.slack_id)))


def _write(session: Session, user: Json, asked_for: str, team_id: str, now: datetime) -> None:
    """Keep what Slack says of one user. Its flags are Slack's own: a deactivated user lacks most of them."""
    profile = user.get("profile") or {}
    email = profile.get("email") or (asked_for if "@" in asked_for else "")
    teams = (user.get("enterprise_user") or {}).get("teams") or [user.get("team_id")]
    row = session.get(PersonRow, user["id"]) or PersonRow(slack_id=user["id"], email="")
    former, row.email = row.email, storable(str(email or row.email).lower())[:320]
    row.name = storable(str(profile.get("real_name") or user.get("real_name") or user.get("name") or user["id"]))
    row.handle = storable(str(user.get("name") or ""))[:255]
    row.tz = storable(str(user.get("tz") or "UTC"))[:255]
    row.active = not user.get("deleted", False)
    row.guest = bool(user.get("is_restricted") or user.get("is_ultra_restricted"))
    row.bot = bool(user.get("is_bot") or user.get("is_app_user")) or user["id"] == "USLACKBOT"
    row.stranger = bool(user.get("is_stranger")) or team_id not in teams
    row.away_until = _away_until(profile, now)
    row.checked_at = now
    session.add(row)
    session.flush()
    if former and former != row.email:
        roster.add_former_address(session, row.email, former, now)


_AWAY = re.compile(
    r"\b(out of (the )?office|ooo|vacation\w*|on holidays?|on leave|parental leave|sick|away until|pto)\b",
    re.IGNORECASE,
)
_AWAY_EMOJI = frozenset([":palm_tree:", ":face_with_thermometer:", ":desert_island:", ":beach_with_umbrella:"])
AWAY_FOR = timedelta(hours=26)  # a status without an end holds until the next daily look, and a little longer


def _away_until(profile: Json, now: datetime) -> datetime | None:
    """Return until when somebody is out of office by their Slack status; None: they are here."""
    says = _AWAY.search(str(profile.get("status_text") or "")) is not None
    if not says and profile.get("status_emoji") not in _AWAY_EMOJI:
        return None
    ends = profile.get("status_expiration")
    if not isinstance(ends, int) or not ends:
        return now + AWAY_FOR
    return datetime.fromtimestamp(ends, UTC) if now.timestamp() < ends < now.timestamp() + 366 * 86400 else None


# -- everybody ---------------------------------------------------------------------------------------------------------


def pull(sessions: Sessions, client: WebClient, now: datetime) -> tuple[int, tuple[Gap, ...]]:
    """Read the whole directory, page by page, and go on where a limit stopped the last pull.

    Returns how many people this pull has seen so far, and a Gap where it is not complete yet. Each page is written down
    at once, with the cursor of the next. The Web API's method is users.list, tier 2: 20 calls a minute.
    """
    with sessions.begin() as session:
        if is_shut(session, LOOKUPS, now):
            return 0, (_gap("Slack asked us to wait"),)
        at = session.get(DirectoryPullRow, SLACK)
        if at is None or not at.cursor:
            at = at or DirectoryPullRow(source=SLACK, finished_at=None)
            at.cursor, at.started_at, at.people = "", now, 0
            session.add(at)
        cursor, seen = at.cursor, at.people
    try:
        team_id = str(client.auth_test()["team_id"])
        for _ in range(PAGES_AT_ONCE):
            page = client.users_list(limit=A_PAGE, cursor=cursor)
            seen += len(page["members"])
            cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
            _keep_page(sessions, page["members"], cursor, seen, team_id, now)
            if not cursor:
                return seen, ()
    except UNWELL as error:
        return seen, (_stopped(sessions, trouble(error), now),)
    return seen, (_gap(f"{seen} people read so far; the next tick goes on"),)


def _keep_page(
    sessions: Sessions, members: Iterable[Json], cursor: str, seen: int, team_id: str, now: datetime
) -> None:
    with sessions.begin() as session:
        for user in members:
            if isinstance(user.get("id"), str):
                _write(session, user, "", team_id, now)
        at = session.get_one(DirectoryPullRow, SLACK)
        at.cursor, at.people = cursor, seen
        if not cursor:
            at.finished_at = now


def _stopped(sessions: Sessions, what: Trouble, now: datetime) -> Gap:
    with sessions.begin() as session:
        if what.code == "invalid_cursor":  # they live for a while only: the next pull begins anew
            session.get_one(DirectoryPullRow, SLACK).cursor = ""
        shut(session, LOOKUPS, now + (what.retry_after or PAUSE), what.code)
    return _gap(f"{what.code}: the directory could not be read to its end")
