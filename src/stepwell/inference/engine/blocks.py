"""Who has which block of keys and values, and which blocks hold the beginning of another text.

A full block is known by a digest of all tokens up to its end. A text that begins as another one did takes its blocks
instead of reading them again; blocks that nobody uses stay until room is needed, the longest unused first. Only full
blocks are shared, so no block is ever written by two. This file leaves out what stands in the blocks.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from stepwell.inference.native.layout import BLOCK_TOKENS


class BlockPool:
    """Blocks by number.

    Args:
        num_blocks: how many there are, from 1.
        shares: whether texts that begin alike share blocks.
    """

    def __init__(self, num_blocks: int, *, shares: bool = True) -> None:
        self.num_blocks, self.shares = num_blocks, shares
        self._free = list(range(num_blocks - 1, -1, -1))
        self._users = [0] * num_blocks
        self._digests: list[bytes | None] = [None] * num_blocks
        self._known: dict[bytes, int] = {}
        self._resting: OrderedDict[int, None] = OrderedDict()
        self.asked_tokens = 0
        self.found_tokens = 0

    @property
    def num_free(self) -> int:
        """Blocks that can be taken, those that rest included."""
        return len(self._free) + len(self._resting)

    @property
    def num_used(self) -> int:
        """Blocks that texts have now."""
        return self.num_blocks - self.num_free

    def find(self, token_ids: Sequence[int]) -> list[int]:
        """Blocks that hold the beginning of a text, taken for it; at least one of its tokens is left to read."""
        found: list[int] = []
        if self.shares:
            digest = b""
            for end in range(BLOCK_TOKENS, len(token_ids), BLOCK_TOKENS):
                digest = chain(digest, token_ids[end - BLOCK_TOKENS : end])
                block = self._known.get(digest)
                if block is None:
                    break
                found.append(block)
        for block in found:
            self._use(block)
        self.asked_tokens += len(token_ids)
        self.found_tokens += len(found) * BLOCK_TOKENS
        return found

    def take(self, count: int) -> list[int] | None:
        """Blocks that nobody uses; None, and nothing is taken, where there are not so many."""
        if count > self.num_free:
            return None
        return [self._take_one() for _ in range(count)]

    def publish(self, block: int, digest: bytes) -> None:
        """A block is full, with what `chain` says of it: others may share it."""
        if self.shares and digest not in self._known and self._digests[block] is None:
            self._known[digest], self._digests[block] = block, digest

    def release(self, blocks: Sequence[int]) -> None:
        """A text has ended, or makes room; its last blocks are forgotten first."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            if self._digests[block] is None:
                self._free.append(block)
            else:
                self._resting[block] = None

    def _use(self, block: int) -> None:
        self._users[block] += 1
        self._resting.pop(block, None)

    def _take_one(self) -> int:
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._resting.popitem(last=False)
            digest = self._digests[block]
            assert digest is not None
            del self._known[digest]
            self._digests[block] = None
        self._users[block] = 1
        return block


def chain(digest: bytes, token_ids: Sequence[int]) -> bytes:
    """What a block is known by: the digest of the block before it (empty for none) and its own tokens."""
    return hashlib.blake2b(digest + np.asarray(token_ids, np.int32).tobytes(), digest_size=16).digest()
