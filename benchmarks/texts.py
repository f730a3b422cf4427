"""Real texts to measure with: two mixes of the human-rated English texts of modeling/tasks/sentiment/dataset.py.

- ``short``: tweets and product reviews (Hutto and Gilbert, ICWSM 2014), about 20 tokens each.
- ``mixed``: the same, but every tenth on average is 200 to 400 tokens long, of joined movie reviews or news snippets.

The order is shuffled with a fixed seed: every run and every server gets the same texts in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from tokenizers import Tokenizer

from modeling.tasks.sentiment import dataset

Mix = Literal["short", "mixed"]
MIXES: tuple[Mix, ...] = get_args(Mix)

SHORT_DOMAINS = ("tweets", "product reviews")
LONG_DOMAINS = ("movie reviews", "news")
LONG_SHARE = 0.1
LONG_TOKENS = (200, 400)


def load(mix: Mix, data: Path, tokenizer: Path, *, seed: int = 0) -> list[str]:
    """The texts of a mix, about 8,000.

    Args:
        mix: which of the two.
        data: folder of the data packages; they are downloaded into it if they are not there.
        tokenizer: ``tokenizer.json`` of the model, by which the long texts are measured.
        seed: of the order, and of which texts are long.

    Raises:
        DataError: if the data cannot be had.
    """
    rated = dataset.english(dataset.fetch(data))
    chance = random.Random(seed)
    texts = [row.text for row in rated if row.domain in SHORT_DOMAINS]
    chance.shuffle(texts)
    if mix == "short":
        return texts
    long = _long_texts([row.text for row in rated if row.domain in LONG_DOMAINS], tokenizer, chance)
    return [next(long, text) if chance.random() < LONG_SHARE else text for text in texts]


def _long_texts(snippets: Sequence[str], tokenizer: Path, chance: random.Random) -> Iterator[str]:
    """Consecutive snippets joined until a drawn length is reached, and cut there, special tokens counted."""
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.no_truncation()
    special = encoder.num_special_tokens_to_add(is_pair=False)
    remaining = iter(snippets)
    for first in remaining:
        wanted = chance.randint(*LONG_TOKENS) - special
        text = first
        while len(offsets := encoder.encode(text, add_special_tokens=False).offsets) < wanted:
            following = next(remaining, None)
            if following is None:
                return
            text = f"{text} {following}"
        yield text[: offsets[wanted - 1][1]]
