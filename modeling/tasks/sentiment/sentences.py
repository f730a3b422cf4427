"""Labelled sentences, in Polish and partly in English, and how sure each source is of its labels.

A label from a person who read the whole sentence is surer than one from a person who rated a sense of a word in it, and
this is surer than one from a translation without a strong word. So the target of a sentence leaves the other classes a
share, its ``doubt``: most of it goes to neutral, which people confuse more often than negative with positive.

Validation and test parts are cut by the hash of the text (see :func:`~modeling.tasks.sentiment.dataset.part_of`) from
the composed and the CLARIN-Emo sentences, whose labels are the surest; all other sentences are for training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeling.rows import read_lines
from modeling.tasks.sentiment.corpora import CLARIN_EMO, CORPORA, Corpus
from modeling.tasks.sentiment.dataset import MEANINGS, Meaning, Part, part_of

COMPOSED = "composed"
COMPOSED_FILE = "composed.jsonl"
COMPOSED_DOUBT = 0.06
# Share of the doubt about a positive or a negative text that goes to neutral; the rest goes to the opposite.
TO_NEUTRAL = 0.75


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text with its label, its language, where it comes from, and the doubt about its label, from 0 to 1."""

    text: str
    label: Meaning
    language: str
    source: str
    doubt: float

    @property
    def part(self) -> Part:
        """The part of the split that it belongs to."""
        return part_of(self.text) if self.source in (COMPOSED, CLARIN_EMO) else "train"

    @property
    def target(self) -> Sequence[float]:
        """Probabilities of negative, neutral and positive."""
        if self.label == "neutral":
            return self.doubt / 2, 1 - self.doubt, self.doubt / 2
        found = (1 - self.doubt, TO_NEUTRAL * self.doubt, (1 - TO_NEUTRAL) * self.doubt)
        return found if self.label == "negative" else found[::-1]


def read(composed: Path, folder: Path) -> list[Sentence]:
    """The sentences of the file ``composed``, and of the CORPORA, whose files are in ``folder``.

    Raises :class:`~modeling.errors.ModelingError` naming a file or line that cannot be read.
    """
    found = read_composed(composed)
    for corpus in CORPORA:
        found += read_file(folder / corpus.file, corpus)
    return found


def read_file(file: Path, corpus: Corpus) -> list[Sentence]:
    """The sentences of a corpus; raises what :func:`read` raises."""
    return _read(file, corpus.name, corpus.doubt, corpus.weak_doubt)


def read_composed(file: Path) -> list[Sentence]:
    """The sentences that were composed for this project; raises what :func:`read` raises."""
    return _read(file, COMPOSED, COMPOSED_DOUBT, COMPOSED_DOUBT)


def _read(file: Path, source: str, doubt: float, weak_doubt: float) -> list[Sentence]:
    found = []
    for row in read_lines(file):
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str) or not text.strip():
            raise row.problem("text", "is missing or empty")
        if label not in MEANINGS:
            raise row.problem("label", f"{label!r} is none of {', '.join(MEANINGS)}")
        sure = row.get("strong") is not False
        found.append(Sentence(text, label, row.get("lang") or "pl", source, doubt if sure else weak_doubt))
    return found


def select(sentences: Iterable[Sentence], part: Part) -> list[Sentence]:
    """The sentences of one part of the split."""
    return [sentence for sentence in sentences if sentence.part == part]
