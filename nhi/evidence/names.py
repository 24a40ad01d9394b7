"""What an identity is called, and where it lies: `svc-payments-ci` in the account of the payments team. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nhi.identity import Evidence, Identity, Person
from nhi.naming import Directory, plain
from nhi.policy import Owners
from nhi.words import sentence

_PARTS = re.compile(r"[^a-z0-9]+")
_SHORTEST_LOGIN = 3  # letters of a login that is one word; a shorter one is in too many names
_MOST_PARTS = 4

Words = tuple[str, ...]


class Names:
    """Teams and people by the words of their names, to be found inside the names of identities."""

    def __init__(self, directory: Directory, people: Iterable[Person]) -> None:
        self._teams = {tuple(form.split("-")): team.name for form, team in directory.teams.items() if "@" not in form}
        self._people: dict[Words, set[str]] = {}
        for person in people:
            for login in {person.handle, person.email.partition("@")[0], *person.aliases}:
                words = _words(login.partition("@")[0])
                if words and (len(words) > 1 or len(words[0]) >= _SHORTEST_LOGIN):
                    self._people.setdefault(words, set()).add(person.email)

    def evidence(self, identity: Identity) -> Iterator[Evidence]:
        """Yield which team and which person the identity's name holds: of each the longest, if one is."""
        words = _words(identity.name)
        if team := self._longest(words, self._teams):
            named = self._teams[team]
            yield _fact(identity, sentence("evidence.name_of_team", team=named), named)
        person = self._longest(words, self._people)
        if person and person != team and len(self._people[person]) == 1:
            [email] = self._people[person]
            yield _fact(identity, sentence("evidence.name_of_person", login=".".join(person)), email)

    @staticmethod
    def _longest(words: Words, known: dict[Words, str] | dict[Words, set[str]]) -> Words | None:
        for size in range(min(len(words), _MOST_PARTS), 0, -1):
            fits = [part for start in range(len(words) - size + 1) if (part := words[start : start + size]) in known]
            if fits:
                return fits[0] if len(set(fits)) == 1 else None
        return None


def account_evidence(identity: Identity, policy: Owners) -> tuple[Evidence, ...]:
    """Return whom policy names as answerable for the identity's account."""
    return tuple(
        Evidence(
            source="account",
            fact=sentence("evidence.account", email=one.email, account=one.account),
            points_to=one.email,
            at=None,
            identity_key=identity.key,
        )
        for one in policy.accounts
        if one.account == identity.account
    )


def _words(name: str) -> Words:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)  # svcPaymentsCi is three words
    return tuple(word for word in _PARTS.split(plain(parted)) if word)


def _fact(identity: Identity, words: str, points_to: str) -> Evidence:
    return Evidence(source="name", fact=words, points_to=points_to, at=None, identity_key=identity.key)
