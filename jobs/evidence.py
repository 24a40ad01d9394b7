"""Gather what tells of owners beside tags and the audit trail: names, accounts, code in checkouts, earlier answers.

Only for identities that have findings and no confirmed owner. What a checkout that cannot be read said before stays:
not seen is not the same as not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from jobs.checkouts import Repository, Unread, folder_of
from nhi import roster
from nhi.authority import OwnerEnd
from nhi.database import Sessions, reading
from nhi.escalation import Verdict
from nhi.evidence import cloudformation, codeowners, kubernetes, terraform
from nhi.evidence.declared import Declared, Index
from nhi.evidence.documents import Unreadable
from nhi.evidence.names import Names, account_evidence
from nhi.findings import FindingStatus
from nhi.identity import Aspect, Evidence, Gap, Identity
from nhi.policy import Checkout, Policy
from nhi.records import identity_of, storable
from nhi.redact import redact, tidy
from nhi.tables import AttestationRow, EvidenceRow, FindingRow, IdentityRow, OwnerRow, PersonRow
from nhi.words import sentence

FROM_CODE = ("iac_tag", "blame", "committer", "codeowners")
FROM_HERE = ("name", "account", "attestation", "former_owner")
BATCH = 100  # identities a transaction
_AUTHORS = 3  # of one declaration, and of one file
_PLACES = 4  # in which one identity is declared
_FILE_GAPS = 5
_SAYS_IT_IS_THEIRS = (Verdict.CLAIM, Verdict.JUSTIFY, Verdict.ROTATE, Verdict.DISABLE)


@dataclass
class Found:
    """What all gatherers found, by the identity's row."""

    facts: dict[str, list[Evidence]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def add(self, ids: dict[tuple[str, str, str], str], identity: Identity, facts: Iterable[Evidence]) -> None:
        self.facts.setdefault(ids[_place(identity)], []).extend(facts)


def gather(sessions: Sessions, policy: Policy, now: datetime) -> tuple[Gap, ...]:
    """Look at everything that can tell of owners here, and write it down; return what could not be looked at."""
    with reading(sessions) as session:
        rows = {row.id: identity_of(row) for row in session.scalars(_wanted())}
        found = _known_here(session, rows, policy, now)
    ids = {_place(identity): row_id for row_id, identity in rows.items()}
    for checkout in policy.owners.checkouts if rows else ():
        _read_checkout(checkout, list(rows.values()), ids, policy, found)
    sources = FROM_HERE if found.gaps else (*FROM_HERE, *FROM_CODE)
    batch = list(rows)
    for start in range(0, len(batch), BATCH):
        with sessions.begin() as session:
            for row_id in batch[start : start + BATCH]:
                _write(session, row_id, found.facts.get(row_id, ()), sources, now)
    return tuple(found.gaps)


def _wanted() -> Select[IdentityRow]:
    with_findings = select(FindingRow.identity_id).where(FindingRow.status != FindingStatus.RESOLVED)
    able = select(PersonRow.email).where(PersonRow.active.is_(True))
    owned = select(OwnerRow.identity_id).where(OwnerRow.ended_at.is_(None), OwnerRow.email.in_(able))
    return select(IdentityRow).where(
        IdentityRow.gone_at.is_(None), IdentityRow.id.in_(with_findings), IdentityRow.id.not_in(owned)
    )


def _place(identity: Identity) -> tuple[str, str, str]:
    return identity.provider, identity.account, identity.key


def _known_here(session: Session, rows: dict[str, Identity], policy: Policy, now: datetime) -> Found:
    """Return what names, accounts and earlier answers tell."""
    found = Found()
    directory = roster.directory(session, policy, now)
    names = Names(directory, directory.everybody)
    for row_id, identity in rows.items():
        found.facts[row_id] = [*names.evidence(identity), *account_evidence(identity, policy.owners)]
    for answer in session.scalars(select(AttestationRow).where(AttestationRow.verdict.in_(_SAYS_IT_IS_THEIRS))):
        if answer.identity_id in rows and answer.authority in ("owner", "asked"):
            fact = sentence("evidence.answered", email=answer.email, verdict=answer.verdict.value, number=answer.id[:8])
            found.facts[answer.identity_id].append(
                _fact("attestation", fact, answer.email, answer.at, rows[answer.identity_id])
            )
    for owner in session.scalars(select(OwnerRow).where(OwnerRow.ended_at.is_not(None))):
        if owner.identity_id in rows and owner.ended_because != OwnerEnd.NOT_THEIRS:
            fact = sentence("evidence.former_owner", email=owner.email, at=owner.ended_at)
            found.facts[owner.identity_id].append(
                _fact("former_owner", fact, owner.email, owner.ended_at, rows[owner.identity_id])
            )
    return found


def _fact(source: str, fact: str, points_to: str, at: datetime | None, identity: Identity) -> Evidence:
    return Evidence(source=source, fact=fact, points_to=points_to, at=at, identity_key=identity.key)


def _read_checkout(
    checkout: Checkout,
    identities: Sequence[Identity],
    ids: dict[tuple[str, str, str], str],
    policy: Policy,
    found: Found,
) -> None:
    repository = Repository(checkout)
    scope = f"checkout/{repository.name}"
    try:
        reading_of = _Reading(repository, Index(identities), policy)
        for identity, facts in reading_of.evidence():
            found.add(ids, identity, facts)
    except Unread as fault:
        found.gaps.append(Gap(scope=scope, reason=fault.reason, hides=frozenset({Aspect.OWNER})))
        return
    for path, reason in reading_of.unreadable[:_FILE_GAPS]:
        found.gaps.append(Gap(scope=f"{scope}/{path}", reason=reason, hides=frozenset({Aspect.OWNER})))


class _Reading:
    """What one repository says of the identities that it declares."""

    def __init__(self, repository: Repository, index: Index, policy: Policy) -> None:
        self._repository = repository
        self._index = index
        self._tags = policy.owners.tags
        self._rules: tuple[codeowners.Rule, ...] = ()
        self._rules_path = ""
        self.unreadable: list[tuple[str, str]] = []

    def evidence(self) -> Iterator[tuple[Identity, list[Evidence]]]:
        """Yield each identity that is declared, with what its declaration tells. Raises Unread."""
        places: dict[str, int] = {}
        for path, declared in self._declared():
            identity = self._index.find(declared)
            if identity is not None and places.get(identity.key, 0) < _PLACES:
                places[identity.key] = places.get(identity.key, 0) + 1
                yield identity, list(self._facts(identity, path, declared))

    def _declared(self) -> list[tuple[str, Declared]]:
        found: list[tuple[str, Declared]] = []
        folders: dict[str, dict[str, str]] = {}
        for path, text in self._repository.files():
            if path in codeowners.PLACES and not self._rules:
                self._rules, self._rules_path = codeowners.rules(text), path
            elif path.endswith(".tf"):
                folders.setdefault(folder_of(path), {})[path] = text
            else:
                found += [(path, one) for one in self._documents(path, text)]
        for files in folders.values():
            found += terraform.declared(files)
        return _with_states(found, self._repository, sorted(folders))

    def _documents(self, path: str, text: str) -> list[Declared]:
        try:
            if kubernetes.is_manifest(text):
                return list(kubernetes.declared(text))
            if cloudformation.is_template(text):
                return list(cloudformation.declared(text))
        except Unreadable as fault:
            self.unreadable.append((path, f"Unreadable: {fault}"))
        return []

    def _facts(self, identity: Identity, path: str, declared: Declared) -> Iterator[Evidence]:
        where = f"{self._repository.name}/{path}:{declared.first_line}"
        url = self._repository.url(path, declared.first_line)
        for key in self._tags:
            if value := declared.tags.get(key, "").strip():
                fact = sentence("evidence.code_tag", tag=f"{key}={value}", where=where)
                yield replace(_fact("iac_tag", fact, value, None, identity), url=url)
        lines = declared.last_line - declared.first_line + 1
        authors = self._repository.blame(path, declared.first_line, declared.last_line)
        for author in authors[:_AUTHORS]:
            fact = sentence("evidence.code_lines", email=author.email, count=author.count, lines=lines, where=where)
            yield replace(_fact("blame", fact, author.email, author.at, identity), url=url)
        changed = f"{self._repository.name}/{path}"
        for author in self._repository.log(path)[:_AUTHORS]:
            fact = sentence("evidence.code_changed", email=author.email, where=changed, at=author.at)
            yield replace(_fact("committer", fact, author.email, author.at, identity), url=url)
        yield from self._owners(identity, path)

    def _owners(self, identity: Identity, path: str) -> Iterator[Evidence]:
        for rule in codeowners.owners_of(path, self._rules):
            url = self._repository.url(self._rules_path, rule.line)
            for owner in rule.owners:
                fact = sentence("evidence.code_owner", owner=owner, where=f"{self._repository.name}/{path}")
                yield replace(_fact("codeowners", fact, owner, None, identity), url=url)


def _with_states(
    found: list[tuple[str, Declared]], repository: Repository, folders: Sequence[str]
) -> list[tuple[str, Declared]]:
    """Fill in the names that only a state tells: by the address, in its folder, or where only one place has it."""
    more: list[tuple[str, Declared]] = []
    for folder, text in repository.states(folders):
        try:
            known = terraform.state_addresses(text)
        except (ValueError, AttributeError):
            raise Unread(f"Unreadable: state in {folder}") from None
        for (account, kind, name), address in known.items():
            short = ".".join(address.split(".")[-2:])
            fitting = [(path, one) for path, one in found if one.how == "Terraform" and one.address == short]
            here = [(path, one) for path, one in fitting if folder_of(path) == folder]
            if len(here or fitting) == 1:
                [(path, one)] = here or fitting
                more.append((path, replace(one, kind=kind, name=name, account=account)))
    filled = {(path, one.address) for path, one in more}
    return [pair for pair in found if (pair[0], pair[1].address) not in filled] + more


def _write(
    session: Session, identity_id: str, facts: Iterable[Evidence], sources: Sequence[str], now: datetime
) -> None:
    """Keep this evidence as it is now: what a source does not say any more does not speak any more."""
    current = {(fact.source, tidied): fact for fact in facts if (tidied := storable(tidy(fact.fact, 300)))}
    for row in session.scalars(
        select(EvidenceRow).where(
            EvidenceRow.identity_id == identity_id, EvidenceRow.source.in_((*FROM_HERE, *FROM_CODE))
        )
    ):
        fact = current.pop((row.source, row.fact), None)
        if fact is not None:
            row.seen_at, row.at, row.url = now, fact.at, fact.url
        elif row.source in sources:
            session.execute(delete(EvidenceRow).where(EvidenceRow.id == row.id))
    for (source, tidied), fact in current.items():
        session.add(
            EvidenceRow(
                identity_id=identity_id,
                source=source,
                fact=tidied,
                points_to=storable(redact(fact.points_to))[:320],
                at=fact.at,
                seen_at=now,
                url=storable(fact.url),
            )
        )
