"""Local checkouts of repositories, read with git and never written to.

Only what is committed is read (HEAD), and by git's own plumbing: no hook, filter, file-system monitor, text conversion,
signature check or network transport that a repository's configuration may name is ever run. Every command has a time
limit; what cannot be read raises Unread, whose words become a Gap's reason.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nhi.evidence import git
from nhi.evidence.codeowners import PLACES
from nhi.evidence.declared import MOST_BYTES
from nhi.policy import Checkout
from nhi.words import sentence

_SAFE = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.pager=cat"),
    *("-c", "protocol.allow=never", "-c", "log.showSignature=false", "-c", "core.sshCommand=false"),
    *("-c", "blame.ignoreRevsFile=", "-c", "log.mailmap=true", "-c", "core.quotePath=false"),
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "LC_ALL": "C.UTF-8",
}
_SECONDS = 30.0  # of one command
_ALL_SECONDS = 180.0  # of everything about one checkout
_ENDINGS = (".tf", ".yaml", ".yml", ".json", ".template")
_MOST_FILES = 20_000
_STATE_BYTES = 30_000_000
_AT_ONCE = 200  # blobs a command
_COMMITS = 10  # the last ones of a file


class Unread(Exception):
    """A checkout that cannot be read: `reason` is one short phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Blob:
    path: str
    oid: str
    size: int


class Repository:
    """One checkout's last commit."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._path = checkout.path.expanduser().resolve()
        self._ends = time.monotonic() + _ALL_SECONDS
        self.name = self._path.name

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the path and text of each committed file that may declare an identity or say who answers for one.

        Raises Unread.
        """
        wanted = [blob for blob in self._tree() if _is_wanted(blob)]
        if len(wanted) > _MOST_FILES:
            raise Unread(f"TooManyFiles: {len(wanted)}")
        for start in range(0, len(wanted), _AT_ONCE):
            yield from self._read(wanted[start : start + _AT_ONCE])

    def states(self, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the Terraform states that lie in these folders, committed or (as is usual) not."""
        for folder in folders:
            for path in sorted((self._path / folder).glob("*.tfstate")):
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= _STATE_BYTES:
                    try:
                        yield folder, path.read_text(encoding="utf-8")
                    except (OSError, UnicodeDecodeError) as error:
                        raise Unread(f"{type(error).__name__}: {path.name}") from None

    def blame(self, path: str, first_line: int, last_line: int) -> tuple[git.Author, ...]:
        """Return who wrote these lines as they stand, the most lines first. Raises Unread."""
        lines = f"-L{first_line},{last_line}"
        told = self._git("blame", "--line-porcelain", "--no-textconv", "-w", lines, "HEAD", "--", path)
        return git.blame(told.decode("utf-8", "replace"))

    def log(self, path: str) -> tuple[git.Author, ...]:
        """Return who last changed a file, the latest first. Raises Unread."""
        told = self._git(
            *("log", f"-n{_COMMITS}", "--no-merges", f"--format={git.LOG_FORMAT}", "--no-show-signature"),
            *("HEAD", "--", path),
        )
        return git.log(told.decode("utf-8", "replace"))

    def url(self, path: str, line: int) -> str | None:
        """Return where a line can be looked at; None: policy does not tell."""
        if self._checkout.url is None:
            return None
        return self._checkout.url.replace("{path}", quote(path)).replace("{line}", str(line))

    def _tree(self) -> Iterator[_Blob]:
        for entry in self._git("ls-tree", "-r", "-z", "-l", "--full-tree", "HEAD").split(b"\0"):
            about, _, path = entry.partition(b"\t")
            words = about.split()
            if len(words) == 4 and words[1] == b"blob" and words[0] != b"120000":  # a link is no file of ours
                yield _Blob(path.decode("utf-8", "surrogateescape"), words[2].decode(), int(words[3]))

    def _read(self, blobs: Sequence[_Blob]) -> Iterator[tuple[str, str]]:
        told = self._git("cat-file", "--batch", given="".join(f"{blob.oid}\n" for blob in blobs).encode())
        place = 0
        for blob in blobs:
            start = told.index(b"\n", place) + 1
            place = start + blob.size + 1
            try:
                yield blob.path, told[start : start + blob.size].decode("utf-8")
            except UnicodeDecodeError:
                continue  # no code

    def _git(self, *words: str, given: bytes | None = None) -> bytes:
        """Run one git command that reads. Raises Unread."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise Unread("TooSlow: git")
        if not self._path.is_dir():
            raise Unread(f"NotFound: {sentence('clouds.checkout_no_folder')}")
        command = ["git", *_SAFE, "-c", f"safe.directory={self._path}", "--no-pager", "--literal-pathspecs", *words]
        environment = _ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull}
        try:
            done = subprocess.run(  # noqa: S603  # no shell; what a repository names is never the command
                command,
                cwd=self._path,
                env=environment | {"GIT_CEILING_DIRECTORIES": str(self._path.parent)},
                input=given or b"",
                capture_output=True,
                timeout=min(_SECONDS, left),
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise Unread("TooSlow: git") from None
        except subprocess.CalledProcessError as error:
            raise Unread(_why(error.stderr, words[0])) from None
        except OSError as error:
            raise Unread(f"{type(error).__name__}: git") from None
        return done.stdout


def _why(stderr: bytes, command: str) -> str:
    said = stderr.decode("utf-8", "replace")
    for mark, reason in (
        ("not a git repository", "NotARepository"),
        ("dubious ownership", "DubiousOwnership"),
        ("Permission denied", "PermissionDenied"),
        ("Not a valid object name", "NoCommit"),
        ("ambiguous argument 'HEAD'", "NoCommit"),
    ):
        if mark in said:
            return f"{reason}: git {command}"
    return f"Failed: git {command}"


def _is_wanted(blob: _Blob) -> bool:
    if blob.size > MOST_BYTES:
        return False
    return blob.path in PLACES or blob.path.endswith(_ENDINGS)


def folder_of(path: str) -> str:
    return str(Path(path).parent)
