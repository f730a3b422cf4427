"""The texts of the benchmarks: two mixes of the human-rated English texts of modeling/tasks/sentiment/dataset.py.

- ``short``: tweets and product reviews (Hutto and Gilbert, ICWSM 2014), about 20 tokens each.
- ``mixed``: the same, with 10 % replaced by joined movie reviews or news snippets of 200 to 400 tokens.

A fixed seed gives every run and server the same texts in the same order.
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
    """About 8,000 texts of a mix.

    Args:
        mix: name of the mix.
        data: folder of the data packages; missing packages are downloaded.
        tokenizer: ``tokenizer.json`` of the model, to measure the long texts.
        seed: seed of the order and of the choice of long texts.

    Raises:
        DataError: if the data cannot be downloaded.
    """
    rated = dataset.english(dataset.fetch(data))
    generator = random.Random(seed)
    texts = [row.text for row in rated if row.domain in SHORT_DOMAINS]
    generator.shuffle(texts)
    if mix == "short":
        return texts
    long = _long_texts([row.text for row in rated if row.domain in LONG_DOMAINS], tokenizer, generator)
    return [next(long, text) if generator.random() < LONG_SHARE else text for text in texts]


def _long_texts(snippets: Sequence[str], tokenizer: Path, generator: random.Random) -> Iterator[str]:
    """Join consecutive snippets and cut them at a random length in tokens, including special tokens."""
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.no_truncation()
    special = encoder.num_special_tokens_to_add(is_pair=False)
    remaining = iter(snippets)
    for first in remaining:
        wanted = generator.randint(*LONG_TOKENS) - special
        text = first
        while len(offsets := encoder.encode(text, add_special_tokens=False).offsets) < wanted:
            following = next(remaining, None)
            if following is None:
                return
            text = f"{text} {following}"
        yield text[: offsets[wanted - 1][1]]
