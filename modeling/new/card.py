"""What the card of a checkpoint, the README.md of its repository, says in its YAML front matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from textserve.spec import Input

FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
LANGUAGE = re.compile(r"([a-z]{2,3})([-_].*)?", re.IGNORECASE)
# SPDX's spelling of the licences that the hub knows in lower case.
SPDX = """
    AFL-3.0 AGPL-3.0-only Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC-BY-2.0 CC-BY-3.0 CC-BY-4.0
    CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0
    CC-BY-SA-4.0 CC0-1.0 ECL-2.0 EPL-2.0 EUPL-1.2 GPL-2.0-only GPL-3.0-only ISC LGPL-2.1-only LGPL-3.0-only MIT
    MPL-2.0 MS-PL NCSA ODbL-1.0 OFL-1.1 PostgreSQL Unlicense WTFPL Zlib
"""
LICENSES = {name.lower().removesuffix("-only"): name for name in SPDX.split()}
UNKNOWN_LICENSE = "LicenseRef-unknown"
# The hub's names of tasks for models that read two texts.
PAIR_USES = frozenset({"text-ranking", "zero-shot-classification", "sentence-similarity"})
MAX_EXAMPLES = 50


@dataclass(frozen=True, slots=True)
class Card:
    """The front matter of a card; an attribute is empty where the card says nothing.

    Attributes:
        languages: codes of two or three letters.
        license: an SPDX expression, or ``LicenseRef-unknown``.
        reads_pairs: whether the hub's task for the model takes two texts.
        texts: example texts, or pairs for examples with two texts.
    """

    languages: list[str] = field(default_factory=list)
    license: str = UNKNOWN_LICENSE
    reads_pairs: bool = False
    texts: list[Input] = field(default_factory=list)


def read(text: str) -> Card:
    """The card in ``text``; entries that are missing or not in the known form are left out."""
    match = FRONT_MATTER.match(text.removeprefix("\ufeff"))
    try:
        content = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        return Card()
    uses = {str(use) for use in [content.get("pipeline_tag"), *_listed(content.get("tags"))]}
    texts = [found for example in _listed(content.get("widget")) for found in _texts(example)]
    return Card(_languages(content), _license(content), bool(uses & PAIR_USES), texts[:MAX_EXAMPLES])


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _languages(content: dict[str, Any]) -> list[str]:
    # YAML reads the code of Norwegian as false.
    codes = ["no" if code is False else str(code) for code in _listed(content.get("language"))]
    found = [match[1].lower() for match in map(LANGUAGE.fullmatch, codes) if match]
    return list(dict.fromkeys(found))


def _license(content: dict[str, Any]) -> str:
    (first, *_) = [*_listed(content.get("license")), ""]
    if str(first) == "other":
        first = content.get("license_name") or "other"
    known = LICENSES.get(str(first).lower())
    words = re.sub(r"[^A-Za-z0-9.]+", "-", str(first)).strip("-.")[:40]
    return known or (f"LicenseRef-{words}" if words and words != "unknown" else UNKNOWN_LICENSE)


def _texts(example: Any) -> Iterator[Input]:
    """The texts of an example of the hub's page: a text, a text and its pair, or a query and texts to rank."""
    if not isinstance(example, dict):
        return
    query = example.get("source_sentence") or example.get("query")
    pairs = [(query, text) for text in _listed(example.get("sentences") or example.get("texts"))]
    if "text_pair" in example:
        pairs.append((example.get("text"), example["text_pair"]))
    elif plain := _plain(example.get("text")):
        yield plain
    for text, other in pairs:
        if (first := _plain(text)) and (second := _plain(other)):
            yield first, second


def _plain(text: Any) -> str:
    """``text`` on one line."""
    return " ".join(text.split()) if isinstance(text, str) else ""
