"""Merkle trees: they agree with another implementation, and no proof shows what is not so."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, InvalidProof, verify_consistency, verify_inclusion

from nhi import merkle
from nhi.merkle import Frontier, Tree

MOST = 300
ENTRIES = [f'{{"seq":{number}}}'.encode() for number in range(1, MOST + 1)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


@pytest.fixture(scope="module")
def ours() -> Tree:
    return Tree(LEAVES)


@pytest.fixture(scope="module")
def theirs() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for entry in ENTRIES:
        tree.append_entry(entry)
    return tree


def test_the_root_of_nothing_and_of_one_are_those_of_the_rfc() -> None:
    assert Tree([]).root() == Frontier().root() == hashlib.sha256(b"").digest()
    assert Tree([merkle.leaf_hash(b"")]).root().hex() == (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


def test_roots_of_every_size_agree_with_pymerkle_and_with_the_tree_that_is_only_appended_to(
    ours: Tree, theirs: InmemoryTree
) -> None:
    growing = Frontier()
    for size in range(MOST + 1):
        assert ours.root(size) == theirs.get_root(size) == growing.root() == Tree(LEAVES[:size]).root()
        if size < MOST:
            growing.append(LEAVES[size])


def test_inclusion_proofs_agree_with_pymerkle(ours: Tree, theirs: InmemoryTree) -> None:
    for size in (*range(1, 40), 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 299, 300):
        root = ours.root(size)
        for index in {*range(0, size, 7), 0, size // 2, size - 1}:
            path = ours.inclusion(index, size)
            proof = theirs.prove_inclusion(index + 1, size)
            assert proof.path == [LEAVES[index], *path]
            verify_inclusion(LEAVES[index], root, proof)
            assert merkle.includes(root, size, index, LEAVES[index], path)


def test_consistency_proofs_hold_in_both_implementations(ours: Tree, theirs: InmemoryTree) -> None:
    for size in (*range(1, 40), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300):
        for old in {*range(1, size, 5), 1, size // 2 or 1, size}:
            before, after = ours.root(old), ours.root(size)
            verify_consistency(before, after, theirs.prove_consistency(old, size))
            assert merkle.is_consistent(old, before, size, after, ours.consistency(old, size))


def test_pymerkle_refuses_what_we_refuse(ours: Tree, theirs: InmemoryTree) -> None:
    with pytest.raises(InvalidProof):
        verify_consistency(ours.root(7), ours.root(12), theirs.prove_consistency(6, 12))
    assert not merkle.is_consistent(7, ours.root(7), 12, ours.root(12), ours.consistency(6, 12))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.integers(1, MOST))
def test_no_inclusion_proof_shows_another_leaf_place_or_root(data: st.DataObject, size: int) -> None:
    tree = Tree(LEAVES[:size])
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index or size == 1))
    path, root = tree.inclusion(index), tree.root()

    assert merkle.includes(root, size, index, LEAVES[index], path)
    assert not merkle.includes(root, size, index, merkle.leaf_hash(b"other"), path)
    assert not merkle.includes(bytes(32), size, index, LEAVES[index], path)
    assert not merkle.includes(root, size, index, LEAVES[index], (*path, bytes(32)))
    assert not merkle.includes(root, size, size, LEAVES[index], path)
    if other != index:
        assert not merkle.includes(root, size, other, LEAVES[index], path)
    if path:
        assert not merkle.includes(root, size, index, LEAVES[index], path[:-1])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.integers(2, MOST))
def test_no_consistency_proof_shows_another_beginning(data: st.DataObject, size: int) -> None:
    old = data.draw(st.integers(1, size - 1))
    place = data.draw(st.integers(0, old - 1))
    tree = Tree(LEAVES[:size])
    forged = Tree([*LEAVES[:place], merkle.leaf_hash(b"forged"), *LEAVES[place + 1 : size]])
    path = tree.consistency(old)

    assert merkle.is_consistent(old, tree.root(old), size, tree.root(), path)
    assert not merkle.is_consistent(old, forged.root(old), size, tree.root(), path)
    assert not merkle.is_consistent(old, tree.root(old), size, forged.root(), forged.consistency(old))
    assert not merkle.is_consistent(old, tree.root(old), size, tree.root(), (*path, bytes(32)))
    assert not merkle.is_consistent(old, tree.root(old), size, tree.root(), ())


@pytest.mark.parametrize("beyond", [-1, MOST + 1])
def test_a_place_beyond_the_tree_is_refused(ours: Tree, beyond: int) -> None:
    with pytest.raises(ValueError, match="leaves"):
        ours.root(beyond)
    with pytest.raises(ValueError, match="no leaf"):
        ours.inclusion(beyond)
    with pytest.raises(ValueError, match="no trees"):
        ours.consistency(beyond)


def test_nothing_begins_everything(ours: Tree) -> None:
    assert merkle.is_consistent(0, merkle.EMPTY, 5, ours.root(5), ours.consistency(0, 5))
    assert not merkle.is_consistent(0, bytes(32), 5, ours.root(5), ())
    assert not merkle.is_consistent(5, ours.root(5), 4, ours.root(4), ())
