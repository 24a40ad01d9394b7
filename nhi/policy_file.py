"""policy.toml as it is now: read again when it changes; a broken edit keeps the last good one in force."""

from __future__ import annotations

import logging
from pathlib import Path

from nhi import policy, words
from nhi.errors import PolicyError
from nhi.policy import Policy

log = logging.getLogger(__name__)

_NOTHING = (0, 0, 0)


class PolicyFile:
    """Call it for the policy in force. Raises PolicyError when it is made, and never after that.

    A file that is gone or empty is one that somebody is just writing: the defaults would turn shadow mode on and look
    at other accounts meanwhile. Who wants them starts again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stamp_now()
        self._take(policy.load(path))

    def __call__(self) -> Policy:
        stamp = self._stamp_now()
        if stamp != self._stamp:
            was_there, self._stamp = self._stamp != _NOTHING, stamp
            try:
                if stamp == _NOTHING and was_there:
                    raise PolicyError(f"{self._path} is gone or empty")
                self._take(policy.load(self._path))
                log.info("policy read again")
            except PolicyError as error:
                log.error("the policy in force stays as it was: %s", error)
        return self._policy

    def _take(self, read: Policy) -> None:
        self._policy = read
        words.speak_usually(read.conversation.language)

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return _NOTHING
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found.st_size else _NOTHING
