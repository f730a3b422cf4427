"""The collections of labelled Polish sentences: where each comes from, and how its files become rows.

CORPORA are for training; POLEMO is for measuring, and nothing is trained or chosen on it. None is committed, since
their licences are not the project's (see NOTICE). :func:`fetch` copies them from a folder; or it downloads the original
files from GitHub at a pinned commit, checks their SHA-256, and converts them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modeling.tasks.sentiment.dataset import DataError

GITHUB = "https://raw.githubusercontent.com"
SECONDS = 60
CLARIN_EMO = "clarin-emo"
PLWORDNET_EMO = "plwordnet-emo"
TATOEBA = "tatoeba-neutral"
# The characters of a line without a sentence, whose label is for the whole review before it.
END_OF_REVIEW = {"#"}
# Emotions that contradict a negative, and a positive, rating.
PLEASANT, UNPLEASANT = {"radosc", "podziw"}, {"zlosc", "smutek", "strach", "wstret"}
UNEMOTIONAL = "neutralny"
# Number of rows taken from the corpus of everyday sentences: the first after sorting by their hash.
MOST_NEUTRAL = 8000
# The domain "reviews" has reviews of schools.
POLEMO_DOMAINS = ("hotels", "medicine", "products", "reviews")
POLEMO_LEVELS = ("sentence", "text")
POLEMO_LABELS = {"plus_m": "positive", "minus_m": "negative", "zero": "neutral"}
POLEMO_FOLDER = "data/PolEmo 2.0 Sentiment Analysis Dataset for CoNLL/dataset_conll/dataset_conll"
POLEMO_SHA256 = (
    "6a6422a9763441695adcb3c12224789168ec5e1eea3d7b1b04a59ece4bebbb50",
    "4ed729987dbed64ac5f3b2ada48524c4f6caed5845930b9a5ba04469bb438890",
    "7f14cb7251c64f40b388187f47d928c15850bc9d41efeda29e46b4be277914b5",
    "aa7c2f894fe44dc6abe3e2c503c2c656c1aa0f22cf7a33143fa1bc47fc53f702",
    "4773de89df8de19c077169c5dbe84d2cddb0c702854753655211376c9b58180d",
    "cd837925da8ad894b4b96241e34ae12d8bfbd75ab218e761c3ed9106ccc08c69",
    "1785c7e2ebfe55e1b8d9e1fffb3c04b5ffd565c131b71c0ef387528a60e829ff",
    "f7a71a534f85d4439d5f04cb3b6dba5add48f23aa47f33edefd43825625457c1",
)

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Corpus:
    """A collection of sentences.

    Attributes:
        name: its name; its file is NAME.jsonl.
        repository: OWNER/NAME on GitHub.
        commit: 40 hexadecimal digits.
        sha256: the digests of the original files, by path.
        convert: from the content of these files to rows with ``text`` and ``label``.
        doubt: the share of a target that other classes get in training.
        weak_doubt: the same for rows with ``"strong": false``.
    """

    name: str
    repository: str
    commit: str
    sha256: Mapping[str, str]
    convert: Callable[..., Rows]
    doubt: float = 0.0
    weak_doubt: float = 0.0

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.jsonl"


def plwordnet(content: bytes) -> Rows:
    """Examples of word senses; the source has a row for each emotion of each sense in a text.

    A text is strong if one of its ratings is, or if nobody called it unemotional. Texts with ratings of both signs, of
    0, or against the emotions are left out.
    """
    table = json.loads(gzip.decompress(content))
    columns = [table[f"('{name}',)"].values() for name in ("text", "markedness", "emotions")]
    by_text: dict[str, list[tuple[float, str]]] = {}
    for text, rating, emotion in zip(*columns, strict=True):
        by_text.setdefault(" ".join(text.split()), []).append((rating, emotion))
    for text, found in by_text.items():
        ratings, emotions = {rating for rating, _ in found}, {emotion for _, emotion in found}
        against = UNPLEASANT if min(ratings) > 0 else PLEASANT
        if min(ratings) * max(ratings) <= 0 or emotions & against:
            continue
        strong = max(map(abs, ratings)) == 1 or UNEMOTIONAL not in emotions
        yield {"text": text, "label": "positive" if min(ratings) > 0 else "negative", "strong": strong}


def clarin(texts: bytes, answers: bytes) -> Rows:
    """Sentences of consumer reviews, and whole reviews, on whose polarity six people agreed."""
    lines = [" ".join(cells) for cells in csv.reader(io.StringIO(texts.decode()), delimiter="\t")]
    labels = list(csv.DictReader(io.StringIO(answers.decode()), delimiter="\t"))
    review: list[str] = []
    for line, answer in zip(lines[1:], labels, strict=True):
        text, level = " ".join(line.split()), "sentence"
        if set(text) == END_OF_REVIEW:
            text, level, review = " ".join(review), "review", []
        else:
            review.append(text)
        found = [name.lower() for name in ("Positive", "Negative", "Neutral") if answer[name] == "True"]
        if len(found) == 1:
            yield {"text": text, "label": found[0], "level": level}


def tatoeba(content: bytes) -> Rows:
    """Polish sentences whose English translation has no word of VADER's lexicon: most are neutral."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    strong = SentimentIntensityAnalyzer().lexicon
    found = set()
    for line in content.decode().splitlines():
        english, _, polish = line.partition("\t")
        words = [word.strip(".,!?;:\"'()").lower() for word in english.split()]
        if len(words) > 3 and not any(word in strong for word in words):
            found.add(polish.strip())
    for text in sorted(found, key=_digest)[:MOST_NEUTRAL]:
        yield {"text": text, "label": "neutral"}


def polemo(*contents: bytes) -> Rows:
    """Sentences and whole reviews of POLEMO_DOMAINS; those of mixed polarity are left out."""
    parts = [(domain, level) for domain in POLEMO_DOMAINS for level in POLEMO_LEVELS]
    for (domain, level), content in zip(parts, contents, strict=True):
        for line in content.decode().splitlines():
            text, _, label = line.rpartition("__label__")
            if meaning := POLEMO_LABELS.get(label.strip().split("_", 1)[-1]):
                joined = re.sub(r"\s+([.,!?;:)…])", r"\1", " ".join(text.split()))
                yield {"text": joined, "label": meaning, "level": level, "domain": domain}


def _digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


CORPORA = (
    Corpus(
        PLWORDNET_EMO,
        "SMAPWr/project-polish-emotions-classifier",
        "f1d7e54ccc5abbda07654652302f0dfdc3235d37",
        {"data/slowosiec_all_data.json.gz": "5411ad9259dfedc9ad71a6a4341e2b0b2be4c8549c6430a60d0024d073713998"},
        plwordnet,
        doubt=0.08,
        weak_doubt=0.2,
    ),
    Corpus(
        CLARIN_EMO,
        "poleval/2024-emotion-recognition",
        "00ca2a385ab03491951e9d159b3061a5ac86f79a",
        {
            "train/in.tsv": "3f6a93c9e3659c09230e03bedef789b2684771fb27603ffbd88b19e53e7c0986",
            "train/expected.tsv": "f00e7e0d52ab27d673ac782412351e4d368fef8b69dfe1b5a11978f3a496dd4e",
        },
        clarin,
        doubt=0.08,
        weak_doubt=0.08,
    ),
    Corpus(
        TATOEBA,
        "eRgo35/s2s-mt-experiment",
        "cc8143e510b0a97189d8da0438613aae403c00ec",
        {"eng-pol.txt": "8a4bbd7bdf75158751e917799cfc9f8617c20b75e196f2cd19085c45cc118121"},
        tatoeba,
        doubt=0.15,
        weak_doubt=0.15,
    ),
)


POLEMO = Corpus(
    "polemo2-test",
    "radoslaw9021/polish-sentiment-analyzer",
    "90302d73e35421ccc7e2ed70053bcac1fe010f70",
    dict(
        zip(
            [f"{POLEMO_FOLDER}/{domain}.{level}.test.txt" for domain in POLEMO_DOMAINS for level in POLEMO_LEVELS],
            POLEMO_SHA256,
            strict=True,
        )
    ),
    polemo,
)


def fetch(into: Path, folder: Path | None = None, server: str = GITHUB) -> list[str]:
    """Copy or download the CORPORA and POLEMO into the folder ``into``, and return a line about the origin of each.

    They are copied from ``folder`` (NAME.jsonl or NAME.jsonl.gz) if given; else missing files come from ``server``.
    Raises :class:`~modeling.tasks.sentiment.dataset.DataError` if one cannot be read, or a download has another digest.
    """
    into.mkdir(parents=True, exist_ok=True)
    return [_copy(corpus, into, folder) if folder else _download(corpus, into, server) for corpus in (*CORPORA, POLEMO)]


def _copy(corpus: Corpus, into: Path, folder: Path) -> str:
    for file in (folder / corpus.file, folder / f"{corpus.file}.gz"):
        if file.exists():
            try:
                with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as source:
                    _write(into / corpus.file, [source.read()])
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{file}: cannot be read: {error}") from error
            return f"{corpus.name}: from {file}"
    raise DataError(f"{folder}: has neither {corpus.file} nor {corpus.file}.gz")


def _download(corpus: Corpus, into: Path, server: str) -> str:
    origin = f"{corpus.repository} at {corpus.commit[:12]}"
    if (into / corpus.file).exists():
        return f"{corpus.name}: from {into / corpus.file}"
    # Imported here: only the download needs it, and the serving environment reads existing files.
    import requests

    contents = []
    for path, digest in corpus.sha256.items():
        address = f"{server}/{corpus.repository}/{corpus.commit}/{quote(path)}"
        try:
            answer = requests.get(address, timeout=SECONDS)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise DataError(
                f"{corpus.name}: {address} cannot be downloaded: {error}; name a folder that has {corpus.file} "
                "with --sentences"
            ) from error
        if (found := _digest(answer.content)) != digest:
            raise DataError(f"{corpus.name}: {address}: SHA-256 is {found}, expected {digest}")
        contents.append(answer.content)
    rows = corpus.convert(*contents)
    _write(into / corpus.file, (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    return f"{corpus.name}: from {origin}"


def _write(file: Path, content: Iterable[bytes]) -> None:
    whole = file.with_suffix(".part")
    with whole.open("wb") as output:
        output.writelines(content)
    os.replace(whole, file)
