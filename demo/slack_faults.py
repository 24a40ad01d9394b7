"""What can go wrong between an app and Slack, on demand: `workspace.inject("chat.postMessage", drop_after())`."""

import random
import threading
import time
from dataclasses import dataclass, field

from demo.slack_state import Json, RefusalError


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail. `acts` tells whether the method still does its work, unseen by the caller."""

    acts: bool
    status: int | None = 200  # None: the connection is dropped without an answer
    body: Json = field(default_factory=dict)
    retry_after: int | None = None
    seconds: float = 0.0  # how long to keep the caller waiting first


def drop_before() -> Fault:
    """Drop the connection before anything is done."""
    return Fault(acts=False, status=None)


def drop_after() -> Fault:
    """Do the work, then drop the connection: the caller cannot tell this from `drop_before`."""
    return Fault(acts=True, status=None)


def rate_limited(retry_after: int = 1) -> Fault:
    """Answer 429 with Retry-After, in seconds."""
    return Fault(acts=False, status=429, body={"ok": False, "error": "ratelimited"}, retry_after=retry_after)


def server_error(status: int = 500) -> Fault:
    """Answer a 5xx status and do nothing."""
    return Fault(acts=False, status=status, body={"ok": False, "error": "internal_error"})


def fatal_after() -> Fault:
    """Do the work, then answer `fatal_error`."""
    return Fault(acts=True, body={"ok": False, "error": "fatal_error"})


def hang(seconds: float, acts: bool = True) -> Fault:
    """Do the work, keep the caller waiting, then answer as if nothing had been (or drop, where nothing was done)."""
    return Fault(acts=acts, seconds=seconds, status=200 if acts else None)


def refuse(code: str) -> Fault:
    """Answer `ok: false` with this error code, and do nothing."""
    return Fault(acts=False, body={"ok": False, "error": code})


@dataclass(kw_only=True)
class _Plan:
    method: str
    fault: Fault
    times: int | None
    probability: float
    rng: random.Random


class Faults:
    """The faults that are planned, and the message rate that Slack allows when it is enforced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: list[_Plan] = []
        self._last_post: dict[str, float] = {}
        self.enforces_rate = False
        self.seconds_between_posts = 1.0

    def plan(self, method: str, fault: Fault, times: int | None, probability: float, rng: random.Random | None) -> None:
        """Fail a method (`*`: any) `times` times, each call with `probability`; None for no end."""
        plan = _Plan(method=method, fault=fault, times=times, probability=probability, rng=rng or random.Random(0))
        with self._lock:
            self._plans.append(plan)

    def clear(self) -> None:
        """Forget all planned faults."""
        with self._lock:
            self._plans.clear()

    def next(self, method: str) -> Fault | None:
        """Return the fault for this call and count it, or None."""
        with self._lock:
            for plan in self._plans:
                if plan.method in (method, "*") and plan.rng.random() < plan.probability:
                    if plan.times is not None:
                        plan.times -= 1
                        if plan.times <= 0:
                            self._plans.remove(plan)
                    return plan.fault
        return None

    def refuse_haste(self, method: str, channel: object) -> Fault | None:
        """Return a 429 where a channel got a message less than a second ago and the limit is enforced."""
        if not self.enforces_rate or method not in ("chat.postMessage", "chat.postEphemeral"):
            return None
        now = time.monotonic()
        with self._lock:
            if now - self._last_post.get(str(channel), -1e9) < self.seconds_between_posts:
                return rate_limited(1)
            self._last_post[str(channel)] = now
        return None


def answer_of(refused: RefusalError) -> Json:
    """Return the body of a refusal, with Slack's sentences where it gives any."""
    body: Json = {"ok": False, "error": refused.code}
    if refused.messages:
        body["errors"] = [each.removeprefix("[ERROR] ") for each in refused.messages]
        body["response_metadata"] = {"messages": list(refused.messages)}
    return body
