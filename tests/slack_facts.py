"""Facts as nhi.cards returns them, for tests of what is drawn: one ordinary world, and any hostile one.

Hostile texts are put together from what has gone wrong elsewhere: mentions, links, mark-up, controls, secrets, length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from bot.render import Json
from nhi.remediation import RemediationStatus

# Worlds are large, and making a failing one smaller can take minutes: it is shown as it was found.
THOROUGH = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ACCESS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
SECRETS = (
    "ghp_" + "a1B2" * 9,
    "xoxb-" + "1234567890-abcdef",
    "AKIA" + "QYLPMN5HFIQR7XYZ",
    "-----BEGIN RSA " + "PRIVATE KEY-----MIIEow",
)
HOSTILE = (
    *(
        "<!channel>",
        "<@U12345678>",
        "<#C1>",
        "<https://evil.example|ok>",
        "https://evil.example/x",
        "@here",
        "@channel",
    ),
    *(
        "*bold*",
        "_it_",
        "~gone~",
        "`code`",
        "```",
        "&lt;!here&gt;",
        ":rotating_light:",
        "\n- item",
        "\n\n*x*",
        "\r",
        "\t",
    ),
    *("\u202e", "\u2066", "\u200b", "\x00", "\x1b[31m", "\ue000", "\ue001", "\ue100", "\U000f0000", "\ud800"),
    *('"', "'", "{{ 7 * 7 }}", "{% x %}", "\\", "a" * 10_000, "🦊" * 50, "名前", "|", "-", " "),
    *(f" {secret} " for secret in SECRETS),
)


def credential(**more: Any) -> Json:
    facts = {
        "id": ACCESS_KEY,
        "row": "c" * 32,
        "kind": "access_key",
        "status": "active",
        "created_at": "2026-03-03T09:00:00Z",
        "rotated_at": None,
        "last_used_at": "2026-03-10T09:00:00Z",
        "last_used_service": "s3",
        "last_used_region": "eu-west-1",
        "use_gap": None,
    }
    return facts | more


def identity(**more: Any) -> Json:
    facts = {
        "id": "1" * 32,
        "provider": "aws",
        "kind": "iam_user",
        "account": "123456789012",
        "name": "ci-deploy",
        "principal": "arn:aws:iam::123456789012:user/ci-deploy",
        "custody": "ours",
        "privileged": False,
        "created_at": "2026-01-01T00:00:00Z",
        "last_used_at": None,
        "use_gap": None,
        "gone_at": None,
        "tags": {},
    }
    return facts | more


def finding(**more: Any) -> Json:
    facts = {
        "id": "f" * 32,
        "kind": "unused",
        "owasp": "NHI1",
        "severity": "medium",
        "status": "asked",
        "since": "2026-06-08T09:00:00Z",
        "why": "This access key was last used on 10 March 2026 (for s3), 237 days ago; policy allows 90.",
        "coverage": "IAM sees every request signed with a key.",
        "justified_until": None,
        "credential": credential(),
        "resolved_because": None,
    }
    return facts | more


def owner(**more: Any) -> Json:
    evidence = [
        {"source": "tag", "fact": "owner=ana@example.com", "at": None},
        {"source": "creator", "fact": "CreateUser by ana@example.com", "at": "2026-01-01T00:00:00Z"},
    ]
    facts = {
        "state": "likely",
        "email": "ana@example.com",
        "name": "Ana Silva",
        "confidence": 0.92,
        "evidence": evidence,
    }
    return facts | {"others": []} | more


def answer(verdict: str, **more: Any) -> Json:
    facts = {
        "id": "9" * 32,
        "verdict": verdict,
        "email": "ana@example.com",
        "name": "Ana Silva",
        "slack_id": "U1",
        "authority": "asked",
        "words": None,
        "credential": None,
        "at": "2026-11-02T09:04:00Z",
        "until": None,
    }
    return facts | more


def remediation(status: str, kind: str = "disable", **more: Any) -> Json:
    facts = {
        "id": "8" * 32,
        "kind": kind,
        "status": status,
        "credential": credential(),
        "planned_at": "2026-11-02T09:04:00Z",
        "acted_at": "2026-11-02T09:05:00Z" if status in ("done", "undoing", "undone", "testing", "closed") else None,
        "verified_at": None,
        "undone_at": "2026-11-03T09:05:00Z" if status == "undone" else None,
        "undo_by": None,
        "because": "It was already turned off by somebody else." if status in ("refused", "failed") else None,
        "test": scream_test() if status == "testing" else None,
        "certificate": certificate() if status in ("done", "testing", "undone", "closed") else None,
    }
    return facts | more


def scream_test(**more: Any) -> Json:
    facts = {
        "step": 1,
        "of": 3,
        "seconds": [900, 3600, 86400],
        "next_at": None,
        "outcomes": [None],
        "off_at": "2026-11-02T09:05:00Z",
        "back_on_at": "2026-11-02T09:20:00Z",
        "back_at": None,
        "audible": True,
        "coverage": "CloudTrail shows denied calls.",
        "heard": None,
    }
    return facts | more


def certificate(**more: Any) -> Json:
    read = {"from": None, "until": None, "lag_hours": 4.0, "cannot_see": "which calls came before", "gap": None}
    facts = {
        "made_at": "2026-11-02T09:05:00Z",
        "sources": [
            read | {"source": "IAM: the key's last use"},
            read | {"source": "CloudTrail, 90 days", "lag_hours": 0.25},
        ],
        "last_used_at": "2026-04-01T09:00:00Z",
        "last_caller": {"at": "2026-04-01T09:00:00Z", "who": "ci", "from": "198.51.100.7", "for": "s3:Get"},
        "season": None,
    }
    return facts | more


def silence(**more: Any) -> Json:
    facts = {
        "reminder_at": "2026-11-05T09:00:00Z",
        "escalates_at": "2026-11-13T09:00:00Z",
        "to": ["manager", "#security"],
        "escalated_to": [],
    }
    return facts | more


def ask(status: str = "open", **more: Any) -> Json:
    """Return the facts of an ask's card."""
    asked = {
        "id": "a" * 32,
        "email": "ana@example.com",
        "because": "its tag says owner=ana@example.com",
        "status": status,
        "asked_at": "2026-11-02T09:00:00Z",
    }
    facts = {
        "identity": identity(),
        "credentials": [credential()],
        "ask": asked,
        "findings": [finding()],
        "owner": owner(),
        "answers": [],
        "remediations": [],
        "silence": silence(),
        "mode": "reversible",
        "can": ["claim", "not_mine", "justify", "rotate", "disable"] if status == "open" else [],
        "drawn_at": "2026-11-02T09:00:00Z",
    }
    return facts | more


def known(**more: Any) -> Json:
    """Return the facts of an identity that stand beside no ask."""
    facts = {name: value for name, value in ask().items() if name not in ("ask", "silence")}
    history = [{"seq": 1, "at": "2026-01-01T00:00:00Z", "kind": "identity.seen", "facts": {}}]
    permissions = {"policies": ["AdministratorAccess"], "privileged": True}
    return facts | {"identity": identity(coverage="All."), "permissions": permissions, "history": history} | more


def hostile(facts: Any, text: str) -> Any:
    """Return the same facts with this text wherever a cloud's or a person's words stand."""
    if isinstance(facts, list):
        return [hostile(each, text) for each in facts]
    if isinstance(facts, dict):
        return {name: _hostile_field(name, value, text) for name, value in facts.items()}
    return facts


_UNTRUSTED = frozenset(
    [
        *("name", "account", "principal", "kind", "provider", "id", "use_gap", "why", "coverage", "fact", "because"),
        *("words", "email", "authority", "to", "last_used_service", "last_used_region", "resolved_because"),
    ]
)
_OURS = frozenset({"unused", "unowned", "unrotated", "disable", "rotate", "finding.opened", "identity.seen"})


def _hostile_field(name: str, value: Any, text: str) -> Any:
    if name in ("escalated_to", "to") and isinstance(value, list):
        return [text for _ in value]
    if name not in _UNTRUSTED or isinstance(value, (dict, list)) or value in _OURS:
        return hostile(value, text)
    return text if value is not None or name in ("use_gap", "words", "last_used_service") else None


def texts_in(part: Any) -> Iterator[str]:
    """Yield every text that Slack would show, at any depth."""
    if isinstance(part, list):
        for each in part:
            yield from texts_in(each)
    elif isinstance(part, dict):
        yield from (
            part[name] for name in ("text", "fallback", "accessibility_label") if isinstance(part.get(name), str)
        )
        for each in part.values():
            yield from texts_in(each)


def kinds_in(part: Any) -> Iterator[str]:
    """Yield every `type` at any depth."""
    if isinstance(part, list):
        for each in part:
            yield from kinds_in(each)
    elif isinstance(part, dict):
        yield from ([part["type"]] if isinstance(part.get("type"), str) else [])
        for each in part.values():
            yield from kinds_in(each)


def shown(part: Any) -> str:
    """Return all that is shown, in one string."""
    return "".join(texts_in(part))


hostile_texts = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), min_size=1, max_size=6).map("".join)


class World(dict[str, Any]):
    """Facts whose repr is short: sixty findings of 10,000 characters each are no help to who reads a failing test."""

    def __repr__(self) -> str:
        counts = {name: len(part) for name, part in self.items() if isinstance(part, list)}
        return f"World({self['ask']['status']}, {counts}, name={self['identity']['name'][:300]!r})"


@st.composite
def worlds(draw: st.DrawFn) -> Json:
    """Draw the facts of an ask's card: any state, any number of everything, ordinary or hostile throughout."""
    status = draw(st.sampled_from(["open", "answered", "passed", "withdrawn"]))
    many = st.integers(0, 60)
    credentials = [credential(row=f"{n:032d}") for n in range(draw(many))]
    about = [None, *credentials[:20]]
    kinds = st.sampled_from(["unused", "unowned", "unrotated"])
    severities = st.sampled_from(["low", "medium", "high", "critical"])
    findings = [
        finding(kind=draw(kinds), severity=draw(severities), credential=about[n % len(about)])
        for n in range(draw(many))
    ]
    verdicts = st.sampled_from(["claim", "justify", "rotate", "disable", "not_mine", "undo"])
    states = st.sampled_from([status.value for status in RemediationStatus])
    answers = draw(st.lists(verdicts, max_size=8))
    acts = draw(st.lists(st.tuples(states, st.sampled_from(["disable", "rotate"])), max_size=5))
    buttons = ["claim", "not_mine", "justify", "rotate", "disable"] if status == "open" else ["undo"]
    facts = ask(
        status,
        credentials=credentials,
        findings=findings,
        answers=[answer(verdict, words="Needed.", until="2027-01-01T00:00:00Z") for verdict in answers],
        remediations=[remediation(state, kind) for state, kind in acts],
        owner=owner(state=draw(st.sampled_from(["confirmed", "likely", "none"]))),
        silence=silence(escalated_to=draw(st.lists(st.sampled_from(["manager", "#security"]), max_size=3))),
        can=draw(st.lists(st.sampled_from(buttons), unique=True)),
    )
    return World(hostile(facts, draw(hostile_texts)) if draw(st.booleans()) else facts)
