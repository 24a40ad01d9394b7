"""The look right before an act: what was decided, what is so now, and every doubt that stops it. Pure.

A doubt is told by its name and its facts; the sentence that people read is in templates/en/acts.mrkdwn.j2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from nhi.identity import CredentialStatus


class Doubt(StrEnum):
    """Why an act is not done (now)."""

    CANNOT_SEE = "cannot_see"
    GONE = "gone"
    OFF_ALREADY = "off_already"
    BLOCKED = "blocked"
    RENAMED = "renamed"
    USED_SINCE = "used_since"
    USED_UNSEEN = "used_unseen"
    OWNER_CHANGED = "owner_changed"
    LIKELY_OWNER_CHANGED = "likely_owner_changed"
    DECIDER_MAY_NOT = "decider_may_not"
    NEVER_TOUCH = "never_touch"
    BREAK_GLASS = "break_glass"
    ITSELF = "itself"
    SECOND_PERSON = "second_person"
    FROZEN = "frozen"
    FREEZE_UNKNOWN = "freeze_unknown"
    TOO_MANY_AN_HOUR = "too_many_an_hour"
    SHARE_OF_ACCOUNT = "share_of_account"
    ONE_AT_A_TIME = "one_at_a_time"


# Nothing is wrong with these, only not now: the act stays planned and is looked at again.
PASSING = frozenset(
    {
        Doubt.SECOND_PERSON,
        Doubt.FROZEN,
        Doubt.FREEZE_UNKNOWN,
        Doubt.TOO_MANY_AN_HOUR,
        Doubt.SHARE_OF_ACCOUNT,
        Doubt.ONE_AT_A_TIME,
    }
)
AT_LEAST_A_DAY = 3  # acts in an account that its share never forbids: a small account has few credentials


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided, on which facts."""

    shown_last_used_at: datetime | None  # on the card that the person saw; None: never used, or it was not told
    use_was_shown: bool  # False: the card said that its use could not be seen
    shown_at: datetime
    owner_then: str | None  # confirmed owner when decided; None: there was none
    likely_then: str | None  # the likely owner on the card; None: there was none, or it was not kept
    principal_then: str | None  # the provider's name of the identity on the card; None: it was not kept
    ends_sessions: bool = False  # it is to end sessions under way, so their use speaks for it and not against it
    despite_use: bool = False  # somebody else has it: so does its use


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is so right now. `gap` says what could not be seen; `status` None: the credential is gone."""

    status: CredentialStatus | None
    last_used_at: datetime | None  # None: never used
    gap: str | None
    blocked: str | None  # why an act could not be kept to this one credential; None: it can
    principal_now: str
    owner_now: str | None
    likely_now: str | None
    decider_may: bool  # whether who decided may still decide
    second_is_missing: bool  # a second person is required, and none has said yes
    never_touch: str | None  # the pattern of policy that forbids it; None: none does
    break_glass: str | None
    frozen: str | None  # the name of what freezes changes now; None: nothing does
    freeze_gap: str | None  # why it cannot be told whether changes are frozen; None: it can
    acts_this_hour: int
    acts_in_account_today: int
    credentials_in_account: int  # live ones
    account_is_busy: bool  # another act is under way in the account
    is_itself: bool = False  # this program runs as it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The breaker: what policy lets through."""

    actions_an_hour: int
    share_of_account: float  # of the account's live credentials, in 24 hours
    unused_after: timedelta  # for this credential; a use that the card could not show counts within it

    def acts_a_day(self, credentials: int) -> int:
        """Return how many acts an account with so many live credentials may see in 24 hours."""
        return max(AT_LEAST_A_DAY, int(self.share_of_account * credentials))


@dataclass(frozen=True, kw_only=True)
class Go:
    """Nothing speaks against it."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Something speaks against it."""

    doubt: Doubt
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def later(self) -> bool:
        """Whether nothing is wrong with the act, only not now."""
        return self.doubt in PASSING


def check(plan: Plan, look: Look, limits: Limits) -> Go | Stop:
    """Decide whether a planned act may be done now. Every doubt stops it, the lasting ones before those that pass."""
    return _of_credential(plan, look, limits) or _of_people(plan, look) or _of_policy(look, limits) or Go()


def _of_credential(plan: Plan, look: Look, limits: Limits) -> Stop | None:
    if look.gap is not None:
        return Stop(doubt=Doubt.CANNOT_SEE, facts={"reason": look.gap})
    if look.status is None:
        return Stop(doubt=Doubt.GONE)
    if look.status is CredentialStatus.INACTIVE:
        return Stop(doubt=Doubt.OFF_ALREADY)
    if look.blocked is not None:
        return Stop(doubt=Doubt.BLOCKED, facts={"reason": look.blocked})
    if plan.principal_then not in (None, look.principal_now):
        return Stop(doubt=Doubt.RENAMED, facts={"before": plan.principal_then, "now": look.principal_now})
    if was_used_since(look.last_used_at, plan, limits.unused_after):
        doubt = Doubt.USED_SINCE if plan.use_was_shown else Doubt.USED_UNSEEN
        return Stop(doubt=doubt, facts={"at": look.last_used_at})
    return None


def _of_people(plan: Plan, look: Look) -> Stop | None:
    if look.owner_now != plan.owner_then:
        return Stop(doubt=Doubt.OWNER_CHANGED)
    if not look.decider_may:
        return Stop(doubt=Doubt.DECIDER_MAY_NOT)
    if plan.owner_then is None and plan.likely_then not in (None, look.likely_now):
        return Stop(doubt=Doubt.LIKELY_OWNER_CHANGED)
    return None


def _of_policy(look: Look, limits: Limits) -> Stop | None:
    if look.is_itself:
        return Stop(doubt=Doubt.ITSELF)
    if look.never_touch is not None:
        return Stop(doubt=Doubt.NEVER_TOUCH, facts={"pattern": look.never_touch})
    if look.break_glass is not None:
        return Stop(doubt=Doubt.BREAK_GLASS, facts={"pattern": look.break_glass})
    if look.second_is_missing:
        return Stop(doubt=Doubt.SECOND_PERSON)
    if look.freeze_gap is not None:
        return Stop(doubt=Doubt.FREEZE_UNKNOWN, facts={"reason": look.freeze_gap})
    if look.frozen is not None:
        return Stop(doubt=Doubt.FROZEN, facts={"name": look.frozen})
    return _breaker(look, limits)


def _breaker(look: Look, limits: Limits) -> Stop | None:
    if look.account_is_busy:
        return Stop(doubt=Doubt.ONE_AT_A_TIME)
    if look.acts_this_hour >= limits.actions_an_hour:
        return Stop(doubt=Doubt.TOO_MANY_AN_HOUR, facts={"most": limits.actions_an_hour})
    most = limits.acts_a_day(look.credentials_in_account)
    if look.acts_in_account_today >= most:
        return Stop(doubt=Doubt.SHARE_OF_ACCOUNT, facts={"most": most})
    return None


def was_used_since(last_used_at: datetime | None, plan: Plan, unused_after: timedelta) -> bool:
    """Whether a use is known that the card did not show: any later one, whatever the card's age.

    Where the card could not show its use at all, a use counts that is not older than policy's patience was then.
    """
    if last_used_at is None or plan.ends_sessions or plan.despite_use:
        return False
    if not plan.use_was_shown:
        reach = min(unused_after, timedelta(days=365 * 20))  # "never" is the longest duration there is
        return last_used_at > plan.shown_at - reach
    return plan.shown_last_used_at is None or last_used_at > plan.shown_last_used_at
