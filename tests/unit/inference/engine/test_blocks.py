"""Blocks of keys and values: who has them, who shares them."""

from __future__ import annotations

import random

from stepwell.inference.engine.blocks import BlockPool, chain
from stepwell.inference.native.layout import BLOCK_TOKENS


def fill(pool: BlockPool, token_ids: list[int]) -> list[int]:
    """Read a text: take what is known, then new blocks, and publish the full ones."""
    blocks = pool.find(token_ids)
    known = len(blocks)
    taken = pool.take(-(-len(token_ids) // BLOCK_TOKENS) - known)
    assert taken is not None
    blocks += taken
    digest = b""
    for number in range(len(token_ids) // BLOCK_TOKENS):
        digest = chain(digest, token_ids[number * BLOCK_TOKENS : (number + 1) * BLOCK_TOKENS])
        if number >= known:
            pool.publish(blocks[number], digest)
    return blocks


def test_texts_that_begin_alike_share_full_blocks() -> None:
    pool = BlockPool(10)
    first = fill(pool, list(range(40)))
    second = fill(pool, [*range(32), 7, 7, 7])
    assert second[:2] == first[:2]
    assert second[2] != first[2]
    assert pool.num_used == 4
    assert pool.found_tokens == 32


def test_at_least_one_token_is_left_to_read() -> None:
    pool = BlockPool(10)
    fill(pool, list(range(32)))
    assert len(pool.find(list(range(32)))) == 1


def test_what_came_before_a_block_is_part_of_what_it_is_known_by() -> None:
    pool = BlockPool(10)
    fill(pool, [*range(16), *range(16), 1])
    assert pool.find([*range(100, 116), *range(16), 1]) == []


def test_blocks_that_rest_are_found_again_until_room_is_needed_the_longest_unused_first() -> None:
    pool = BlockPool(4)
    old, new = list(range(33)), list(range(100, 117))
    pool.release(fill(pool, old[:17]))
    pool.release(fill(pool, new))
    assert pool.num_free == 4
    taken = pool.take(3)
    assert taken is not None
    assert pool.find(old[:17]) == []
    assert len(pool.find(new)) == 1


def test_nothing_is_taken_where_there_is_not_enough() -> None:
    pool = BlockPool(3)
    assert pool.take(4) is None
    assert pool.num_free == 3


def test_nothing_is_shared_where_that_is_not_wanted() -> None:
    pool = BlockPool(4, shares=False)
    fill(pool, list(range(20)))
    assert pool.find(list(range(20))) == []


def test_no_block_is_lost_or_had_twice() -> None:
    rng, pool = random.Random(0), BlockPool(12)
    texts: list[tuple[list[int], list[int]]] = []
    for _ in range(2000):
        if texts and rng.random() < 0.5:
            pool.release(texts.pop(rng.randrange(len(texts)))[1])
        else:
            token_ids = [rng.randrange(2) for _ in range(3)] * 16
            token_ids = token_ids[: rng.randrange(1, 48)]
            if pool.num_free >= -(-len(token_ids) // BLOCK_TOKENS):
                texts.append((token_ids, fill(pool, token_ids)))
        had = [block for _, blocks in texts for block in blocks]
        assert pool.num_used == len(set(had))
        last = [blocks[-1] for token_ids, blocks in texts if len(token_ids) % BLOCK_TOKENS]
        assert len(last) == len(set(last))  # what is still written is nobody else's
        for token_ids, blocks in texts:
            for other_ids, others in texts:
                for at, (block, other) in enumerate(zip(blocks, others, strict=False)):
                    end = (at + 1) * BLOCK_TOKENS
                    assert block != other or token_ids[:end] == other_ids[:end]
    for _, blocks in texts:
        pool.release(blocks)
    assert pool.num_free == 12
