"""Which control each part of a pack speaks for, and what it says of it."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.pack.model import After, Evidence, clean


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control of one framework. `files` name the evidence, `shows` says in words what it is evidence of."""

    framework: str
    number: str
    asks: str
    files: tuple[str, ...]
    shows: str
    is_seen: bool = True  # False: this program sees too little of it to speak for it

    @property
    def id(self) -> str:
        """A token for OSCAL, as NIST's own catalogue writes them: `ac-6.7`."""
        token = self.number.lower().replace("(", ".").replace(")", "").replace(" ", "-")
        return _PREFIXES.get(self.framework, "") + token


_PREFIXES = {"SOC 2": "soc2-", "ISO 27001:2022": "iso27001-", "PCI DSS 4.0": "pci-"}
_POPULATION, _DECISIONS, _AFTER, _EXCEPTIONS = "population.csv", "decisions.csv", "after.csv", "exceptions.csv"

CONTROLS = (
    Control(
        framework="SOC 2",
        number="CC6.1",
        asks="Logical access to protected assets is restricted.",
        files=(_POPULATION, "completeness.csv"),
        shows="Every identity and credential that can authenticate, with owner, permissions and last use.",
    ),
    Control(
        framework="SOC 2",
        number="CC6.2",
        asks="Access is authorised, and credentials are removed when it no longer is.",
        files=(_DECISIONS, _AFTER),
        shows="Who answered for each identity, and what was turned off and read back.",
    ),
    Control(
        framework="SOC 2",
        number="CC6.3",
        asks="Access is changed or removed by role and least privilege, and reviewed.",
        files=(_DECISIONS, _AFTER, "report.html"),
        shows="The periodic review: population, reviewers, decisions, and what came of them.",
    ),
    Control(
        framework="ISO 27001:2022",
        number="A.5.15",
        asks="Rules to control access are established and implemented.",
        files=(_POPULATION, _EXCEPTIONS),
        shows="The rules as they were in force, what breaks them, and every exception with its end.",
    ),
    Control(
        framework="ISO 27001:2022",
        number="A.5.16",
        asks="The full life cycle of identities is managed.",
        files=(_POPULATION, "events.jsonl"),
        shows="When each non-human identity appeared, who owns it, and when it went.",
    ),
    Control(
        framework="ISO 27001:2022",
        number="A.5.17",
        asks="Authentication information is managed.",
        files=(_POPULATION, _AFTER),
        shows="Age, last rotation and last use of each credential; never the secret itself.",
    ),
    Control(
        framework="ISO 27001:2022",
        number="A.5.18",
        asks="Access rights are provisioned, reviewed, modified and removed.",
        files=(_DECISIONS, _AFTER),
        shows="The review at planned intervals, and the removals that it led to.",
    ),
    Control(
        framework="ISO 27001:2022",
        number="A.8.2",
        asks="Privileged access rights are restricted and managed.",
        files=(_POPULATION, _DECISIONS),
        shows="Which identities can administer an account, and who decided that they keep that.",
    ),
    Control(
        framework="PCI DSS 4.0",
        number="7.2.5.1",
        asks="Access by application and system accounts is reviewed periodically, and management acknowledges it.",
        files=(_DECISIONS, _EXCEPTIONS, "report.html"),
        shows="The review of non-human accounts, what remains inappropriate, and management's signature.",
    ),
    Control(
        framework="PCI DSS 4.0",
        number="8.6.1",
        asks="Interactive login of application and system accounts is prevented unless needed, and then justified.",
        files=(_POPULATION, _EXCEPTIONS),
        shows="Which of them have a password for the console, and the justification for each that was given.",
    ),
    Control(
        framework="PCI DSS 4.0",
        number="8.6.2",
        asks="Passwords of such accounts are not hard-coded.",
        files=(_POPULATION,),
        shows="Long-lived secrets in our custody. Whether one stands in code, this program does not see.",
        is_seen=False,
    ),
    Control(
        framework="PCI DSS 4.0",
        number="8.6.3",
        asks="Passwords of such accounts are changed periodically and upon suspicion.",
        files=(_POPULATION, _AFTER),
        shows="When each secret last changed, and which are older than policy allows.",
    ),
    Control(
        framework="NIST 800-53",
        number="AC-2",
        asks="Accounts are managed: owners, approval, review, disabling.",
        files=(_POPULATION, _DECISIONS, _AFTER),
        shows="Each account's manager, the review of it, and what was disabled.",
    ),
    Control(
        framework="NIST 800-53",
        number="AC-6(7)",
        asks="Privileges are reviewed, and reassigned or removed where not needed.",
        files=(_DECISIONS, _AFTER),
        shows="Decisions on privileged identities, and the read-back of removals.",
    ),
    Control(
        framework="NIST 800-53",
        number="IA-5",
        asks="Authenticators are managed, refreshed and protected.",
        files=(_POPULATION,),
        shows="Age and rotation of every authenticator, against policy.",
    ),
)


def _not_as_decided(one: After) -> str:
    said = f"is not as it was decided ({one.now})"
    if one.status == "by hand":
        return f"{one.identity['name']} {said}: nobody turned it off by hand."
    why = "" if one.acted_at is not None else f": its act is {one.status}"
    return f"{one.credential} of {one.identity['name']} {said}{why}."


def open_points(evidence: Evidence) -> tuple[str, ...]:
    """Return what in this pack speaks against its controls being met, a sentence each; () where nothing does."""
    points = list(evidence.incomplete)
    still_on = [one for one in evidence.after if one.as_decided is False]
    points += [clean(_not_as_decided(one)) for one in still_on]
    if evidence.campaign is None:
        points.append(f"No review was opened in {evidence.quarter}.")
        return tuple(points)
    if evidence.campaign.closed_at is None:
        points.append(f"The review of {evidence.quarter} is not closed.")
    elif evidence.campaign.signed_at is None:
        points.append(f"Management has not signed the review of {evidence.quarter}.")
    if evidence.campaign.unanswered:
        yet = "" if evidence.campaign.closed_at else " yet"
        points.append(f"{len(evidence.campaign.unanswered)} items of the review have no answer{yet}.")
    return tuple(points)
