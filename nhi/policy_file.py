"""policy.toml as it is now: read again when it changes; a broken edit keeps the last good one in force."""

from __future__ import annotations

import logging
from pathlib import Path

from nhi import policy
from nhi.errors import PolicyError
from nhi.policy import Policy

log = logging.getLogger(__name__)


class PolicyFile:
    """Call it for the policy in force. Raises PolicyError when it is made, and never after that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stamp_now()
        self._policy = policy.load(path)

    def __call__(self) -> Policy:
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._policy = policy.load(self._path)
                log.info("policy read again")
            except PolicyError as error:
                log.error("the policy in force stays as it was: %s", error)
        return self._policy

    def _stamp_now(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0)
        return found.st_mtime_ns, found.st_size
