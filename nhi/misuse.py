"""Identities that are used for what they are not for: across environments, by several workloads, by people. Pure.

Each rests on what was seen and says it. What only might be is left alone: two functions of one application may share a
role, and a person's own user is no machine's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations

from nhi import environment
from nhi.activity import AT, Facet, Profile
from nhi.finding import OWASP, Finding, FindingKind, Severity, raised
from nhi.identity import Credential, CredentialStatus, Evidence, Identity, TrustKind
from nhi.policy import Policy
from nhi.words import sentence

LATELY = timedelta(days=90)
CONDUCT_OF = timedelta(days=30)  # what it did in this time counts
_STEADY_DAYS = 5
# CloudTrail calls the Management Console `console.amazonaws.com` and `signin.amazonaws.com`:
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html.
_CONSOLE = ("cloud:console", "cloud:signin", "console", "signin", "aws-console", "awsconsole", "s3console")
_PEOPLES_TOOLS = ("mozilla", "cloudshell", *_CONSOLE)
_DESKTOPS = (" on macos", " on darwin")  # and not Windows: servers run on it too
USED_BY = "aws:used-by"  # the tag that tells what runs as a role: nhi/providers/aws/others.py
_KUBERNETES = re.compile(r"serviceAccount:[^\[]+\.svc\.id\.goog\[([^/\]]+)/([^\]]+)\]")


def misused(
    identity: Identity,
    sessions: Sequence[Evidence],
    policy: Policy,
    now: datetime,
    conduct: Profile | None = None,
    accounts: environment.Accounts = environment.NONE_KNOWN,
) -> Iterator[Finding]:
    """Yield what an identity is misused for.

    `sessions` tell who took it lately, `conduct` what it did in the last days; None: its trail is not read. `accounts`
    tell what other accounts are called.
    """
    yield from _across(identity, conduct, policy, now, accounts)
    yield from _reused(identity, conduct, now)
    yield from _by_people(identity, sessions, conduct, policy, now)


def _across(
    identity: Identity, conduct: Profile | None, policy: Policy, now: datetime, accounts: environment.Accounts
) -> Iterator[Finding]:
    own = environment.belongs(identity, policy)
    if own is None:
        return
    ways = [*_used_across(conduct, own, policy, accounts), *environment.crossings(identity, policy, accounts)]
    if not ways:
        return
    names = sorted({way.name for way in ways})
    into_production = own.name == "production" and any(way.inward for way in ways)
    from_elsewhere = own.name != "production" and "production" in {way.name for way in ways if not way.inward}
    yield _finding(
        FindingKind.CROSS_ENVIRONMENT,
        raised(Severity.LOW, into_production or from_elsewhere, identity.privileged),
        sentence(
            "findings.cross_environment",
            name=own.name,
            because=own.because,
            names=names,
            ways=_each_once(way.by for way in ways),
        ),
        sentence(f"findings.cross_environment_{'without' if conduct is None else 'with'}_use"),
        identity,
        now,
    )


def _used_across(
    conduct: Profile | None, own: environment.Belongs, policy: Policy, accounts: environment.Accounts
) -> Iterator[environment.Crossing]:
    """Yield the accounts and projects of other environments that it was seen to reach lately."""
    for account, (_, days, *_) in (conduct.values(Facet.ELSEWHERE) if conduct is not None else {}).items():
        name = environment.of_account(accounts.ids.get(account, account), policy, accounts)
        if name is not None and name != own.name:
            by = sentence("findings.crossing_used", account=account, days=days)
            yield environment.Crossing(name=name, by=by, inward=False)


def _reused(identity: Identity, conduct: Profile | None, now: datetime) -> Iterator[Finding]:
    found = workloads(identity)
    if len({_first_word(one) for one in found}) < 2:
        found = _programs(conduct)
    if not found:
        return
    yield _finding(
        FindingKind.REUSED,
        raised(Severity.LOW, identity.privileged),
        sentence("findings.reused", workloads=_each_once(found)),
        sentence("findings.reused_coverage"),
        identity,
        now,
    )


def workloads(identity: Identity) -> list[str]:
    """Return what runs as an identity, as far as was seen, sorted."""
    found = {one.strip() for one in identity.tags.get(USED_BY, "").split(",") if one.strip()}
    for trust in identity.access.trust if identity.access else ():
        match = _KUBERNETES.fullmatch(trust.who)
        if trust.kind is TrustKind.FEDERATED and match is not None:
            found.add(f"kubernetes {match[1]}/{match[2]}")
    return sorted(found)


def _first_word(workload: str) -> str:
    """Return what one application's parts have in common: the first word of its name, or its namespace."""
    name = workload.partition(" ")[2] or workload
    return re.split(r"[^a-z0-9]+", name.lower())[0]


def _programs(conduct: Profile | None) -> list[str]:
    """Return programs that use it side by side, each from networks that the other has never been in.

    One that took another's place, or two of one runner, are one workload. Where not all could be kept, none is told.
    """
    if conduct is None or Facet.PROGRAM in conduct.over:
        return []
    networks: dict[str, set[str]] = defaultdict(set)
    for value in conduct.values(Facet.PROGRAM):
        agent, _, network = value.partition(AT)
        if _network(network) is not None and not agent.startswith("cloud:") and not _is_interactive(agent):
            networks[agent].add(network)
    days = {agent: count[1] for agent, count in conduct.values(Facet.AGENT).items() if agent in networks}
    told = {
        one
        for pair in combinations(sorted(days), 2)
        if days[pair[0]] + days[pair[1]] >= conduct.active_days + _STEADY_DAYS  # so on that many days both were there
        and networks[pair[0]].isdisjoint(networks[pair[1]])
        for one in pair
    }
    return [sentence("findings.reused_program", agent=one, networks=len(networks[one])) for one in sorted(told)]


def _is_interactive(agent: str) -> bool:
    """Whether a person works with this tool: a browser, the console, or anything on a desktop's system."""
    return agent.lower().startswith(_PEOPLES_TOOLS) or agent.endswith(_DESKTOPS)


def _seen_at_work(conduct: Profile | None, policy: Policy) -> Iterator[str]:
    """Yield people's tools, and networks that policy calls an office's, from which it was used lately."""
    if conduct is None:
        return
    for agent in conduct.values(Facet.AGENT):
        if _is_interactive(agent):
            in_console = agent.lower().startswith(_CONSOLE)
            yield sentence("findings.human_console") if in_console else sentence("findings.human_tool", agent=agent)
    offices = [ip_network(one) for one in policy.people.office_networks]
    for network in conduct.values(Facet.NETWORK):
        if any(_lies_in(network, office) for office in offices):
            yield sentence("findings.human_office", network=network)


def _lies_in(network: str, office: IPv4Network | IPv6Network) -> bool:
    found = _network(network)
    return found is not None and found.version == office.version and found.overlaps(office)


def _network(value: str) -> IPv4Network | IPv6Network | None:
    """Return a network; None: it is a service of the cloud, which has none of its own, or not told."""
    try:
        return ip_network(value)
    except ValueError:
        return None


def _by_people(
    identity: Identity, sessions: Sequence[Evidence], conduct: Profile | None, policy: Policy, now: datetime
) -> Iterator[Finding]:
    facts = [*_signs_in(identity, now), *_taken_by(identity, sessions, now)]
    if _has_machine_credentials(identity):
        facts += _seen_at_work(conduct, policy)
    if not facts:
        return
    yield _finding(
        FindingKind.HUMAN_USE,
        raised(Severity.LOW, identity.privileged),
        sentence("findings.human_use", signs=_each_once(facts)),
        sentence("findings.human_coverage"),
        identity,
        now,
    )


def _signs_in(identity: Identity, now: datetime) -> Iterator[str]:
    """Yield the sign-in of a user who has a machine's keys too, both in use."""
    used = [one for one in identity.credentials if _is_in_use(one, now)]
    keys = [one for one in used if one.kind in ("access_key", "service_specific_credential")]
    for password in used:
        if password.kind == "console_password" and keys and password.last_used_at is not None:
            yield sentence("findings.human_sign_in", at=password.last_used_at)


def _has_machine_credentials(identity: Identity) -> bool:
    machine = ("access_key", "service_specific_credential", "service_account_key")
    return any(one.kind in machine for one in identity.credentials)


def _is_in_use(credential: Credential, now: datetime) -> bool:
    used_at = credential.last_used_at
    return credential.status is CredentialStatus.ACTIVE and used_at is not None and used_at > now - LATELY


def _taken_by(identity: Identity, sessions: Sequence[Evidence], now: datetime) -> Iterator[str]:
    """Yield whose sessions used a role. One behind SAML is made for people, and one that nobody can change is AWS's."""
    access = identity.access
    if not identity.credentials or (access and any("saml-provider/" in one.who for one in access.trust)):
        return
    for fact in sessions:
        if "@" in fact.points_to and fact.at is not None and fact.at > now - LATELY:
            yield sentence("findings.human_session", who=fact.points_to, at=fact.at)


def _each_once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _finding(
    kind: FindingKind, severity: Severity, why: str, coverage: str, identity: Identity, now: datetime
) -> Finding:
    return Finding(
        kind=kind,
        credential_key=None,
        severity=severity,
        owasp=OWASP[kind],
        since=min(now, identity.created_at or now),
        why=why,
        coverage=coverage,
        exact=False,
    )
