"""Merkle trees as RFC 6962 has them: roots, inclusion proofs, consistency proofs. Pure.

A leaf is hashed after the byte 0x00 and a node after 0x01, so that neither can stand in for the other. What goes in and
comes out are digests (32 bytes); `leaf_hash` makes one of an entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()  # the root of no leaves

Path = tuple[bytes, ...]


def leaf_hash(entry: bytes) -> bytes:
    """Return the digest that stands for an entry of the log (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the digest of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that is only appended to: it keeps one digest a height, and tells the root after any leaf."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # roots of the complete subtrees, the widest first

    def append(self, leaf: bytes) -> None:
        """Add one leaf. As many complete subtrees become one as the old size has ones at its binary end."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of all leaves so far."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


class Tree:
    """A whole tree in memory (64 bytes a leaf), for proofs: each takes a logarithm of its size."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels: list[Sequence[bytes]] = [tuple(leaves)]
        while len(below := self._levels[-1]) > 1:
            pairs = range(0, len(below) - 1, 2)
            self._levels.append([node_hash(below[at], below[at + 1]) for at in pairs])

    def __len__(self) -> int:
        return len(self._levels[0])

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves (None: of all). Raises ValueError beyond the tree."""
        size = len(self) if size is None else size
        if not 0 <= size <= len(self):
            raise ValueError(f"the tree has {len(self)} leaves, not {size}")
        return self._of(0, size) if size else EMPTY

    def inclusion(self, index: int, size: int | None = None) -> Path:
        """Return the path that shows the leaf at `index` (from 0) to be among the first `size` (RFC 6962, 2.1.1)."""
        size = len(self) if size is None else size
        if not 0 <= index < size <= len(self):
            raise ValueError(f"there is no leaf {index} among the first {size} of {len(self)}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._of(middle, end))
                end = middle
            else:
                path.append(self._of(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, old: int, size: int | None = None) -> Path:
        """Return the proof that the tree of `old` leaves begins the tree of `size` leaves (RFC 6962, 2.1.2)."""
        size = len(self) if size is None else size
        if not 0 <= old <= size <= len(self):
            raise ValueError(f"there are no trees of {old} and {size} leaves among {len(self)}")
        path: list[bytes] = []
        start, end, is_known = 0, size, True  # is_known: the verifier has the root of the old leaves in this range
        if old in (0, size):
            return ()
        while old < end:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._of(middle, end))
                end = middle
            else:
                path.append(self._of(start, middle))
                start, is_known = middle, False
        if not is_known:
            path.append(self._of(start, end))
        return tuple(reversed(path))

    def _of(self, start: int, end: int) -> bytes:
        """Return the root of a range that begins where a subtree of its width would."""
        width = end - start
        if width & (width - 1) == 0:
            height = width.bit_length() - 1
            return self._levels[height][start >> height]
        middle = start + _split(width)
        return node_hash(self._of(start, middle), self._of(middle, end))


def _split(width: int) -> int:
    """Return the largest power of two below the width: so many leaves are under the left child."""
    return 1 << (width - 1).bit_length() - 1


def includes(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path shows this leaf at `index` (from 0) in the tree of that size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, digest = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            digest = node_hash(sibling, digest)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and digest == root


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the proof shows the old tree to begin the new one (RFC 9162, 2.1.4.2)."""
    if old == size:
        return not path and old_root == root
    if old == 0:
        return not path and old_root == EMPTY
    if not 0 < old < size:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else [*path]
    if not steps:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    was = now = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and was == old_root and now == root
