"""The collections, from a folder and from a stand-in for GitHub."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from modeling.tasks.sentiment import corpora
from modeling.tasks.sentiment.corpora import CORPORA, POLEMO, Corpus
from modeling.tasks.sentiment.dataset import DataError

pytestmark = pytest.mark.export

RATINGS = [
    ("Wspaniale. ", 1.0, "radosc"),
    ("Wspaniale. ", 0.5, "neutralny"),
    ("Okropnie.", -0.5, "zlosc"),
    ("Słabo.", -0.5, "smutek"),
    ("Słabo.", -0.5, "neutralny"),
    ("Raz tak, raz tak.", 0.5, "radosc"),
    ("Raz tak, raz tak.", -0.5, "smutek"),
    ("Ironia.", -1.0, "radosc"),
    ("Zero.", 0.0, "smutek"),
]
REVIEW = 'text\nMiło.\n"Powiedział ""nie""  dwa razy."\n###\n'
ANSWERS = (
    "Joy\tPositive\tNegative\tNeutral\nTrue\tTrue\tFalse\tFalse\nFalse\tFalse\tTrue\tFalse\nTrue\tTrue\tTrue\tFalse\n"
)


def plwordnet_file() -> bytes:
    names = ("text", "markedness", "emotions")
    table = {f"('{name}',)": {str(i): row[at] for i, row in enumerate(RATINGS)} for at, name in enumerate(names)}
    return gzip.compress(json.dumps(table).encode())


def test_a_rated_sense_is_strong_by_its_rating_or_if_nobody_called_it_unemotional() -> None:
    assert list(corpora.plwordnet(plwordnet_file())) == [
        {"text": "Wspaniale.", "label": "positive", "strong": True},
        {"text": "Okropnie.", "label": "negative", "strong": True},
        {"text": "Słabo.", "label": "negative", "strong": False},
    ]


def test_reviews_give_sentences_and_the_whole_where_one_polarity_is_named() -> None:
    assert list(corpora.clarin(REVIEW.encode(), ANSWERS.encode())) == [
        {"text": "Miło.", "label": "positive", "level": "sentence"},
        {"text": 'Powiedział "nie" dwa razy.', "label": "negative", "level": "sentence"},
    ]
    (*_, whole) = corpora.clarin(REVIEW.encode(), ANSWERS.replace("True\tTrue\tTrue\t", "True\tTrue\tFalse\t").encode())
    assert whole == {"text": 'Miło. Powiedział "nie" dwa razy.', "label": "positive", "level": "review"}


def test_sentences_without_a_strong_word_in_english_are_neutral() -> None:
    lines = (
        "The train leaves at ten.\tPociąg odjeżdża o dziesiątej.\nThis is a terrible day.\tOkropny dzień.\nGo.\tIdź."
    )
    assert list(corpora.tatoeba(lines.encode())) == [{"text": "Pociąg odjeżdża o dziesiątej.", "label": "neutral"}]


def test_polemo_has_a_domain_and_a_level_for_each_file_and_no_mixed_polarity() -> None:
    contents = [b""] * 8
    contents[1] = b"Bardzo czysto , polecam . __label__meta_plus_m\nRaz tak . __label__meta_amb\n"
    contents[6] = b"Lekcja . __label__z_zero\n"
    assert list(corpora.polemo(*contents)) == [
        {"text": "Bardzo czysto, polecam.", "label": "positive", "level": "text", "domain": "hotels"},
        {"text": "Lekcja.", "label": "neutral", "level": "sentence", "domain": "reviews"},
    ]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server of files on loopback, and its folder."""
    folder = tmp_path / "github"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(corpus: Corpus, folder: Path, contents: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the only corpus into ``folder`` as GitHub has it."""
    digests = {}
    for path, content in zip(corpus.sha256, contents, strict=True):
        file = folder / corpus.repository / corpus.commit / unquote(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        digests[path] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(corpora, "CORPORA", ())
    monkeypatch.setattr(corpora, "POLEMO", dataclasses.replace(corpus, sha256=digests))


@pytest.mark.parametrize(
    ("corpus", "contents", "rows"),
    [
        (CORPORA[0], [plwordnet_file()], 3),
        (CORPORA[1], [REVIEW.encode(), ANSWERS.encode()], 2),
        (POLEMO, [b"Lekcja . __label__z_zero\n"] * 8, 8),
    ],
    ids=lambda value: value.name if isinstance(value, Corpus) else "",
)
def test_a_collection_is_downloaded_once_and_converted(
    tmp_path: Path,
    github: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    corpus: Corpus,
    contents: list[bytes],
    rows: int,
) -> None:
    server, folder = github
    publish(corpus, folder, contents, monkeypatch)
    assert corpora.fetch(tmp_path, server=server) == [
        f"{corpus.name}: from {corpus.repository} at {corpus.commit[:12]}"
    ]
    lines = (tmp_path / corpus.file).read_text(encoding="utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == rows
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.unlink()
    assert corpora.fetch(tmp_path, server=server) == [f"{corpus.name}: from {tmp_path / corpus.file}"]


def test_a_tampered_or_missing_file_is_an_error_and_leaves_nothing(
    tmp_path: Path, github: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = github
    publish(CORPORA[0], folder, [plwordnet_file()], monkeypatch)
    (file,) = (file for file in folder.rglob("*.gz"))
    file.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"plwordnet-emo: http.*: SHA-256 is \w+, expected"):
        corpora.fetch(tmp_path / "data", server=server)
    file.unlink()
    with pytest.raises(DataError, match=r"404.*name a folder that has plwordnet-emo\.jsonl with --sentences"):
        corpora.fetch(tmp_path / "data", server=server)
    assert not list((tmp_path / "data").iterdir())


def test_a_named_folder_is_copied_compressed_or_not(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for corpus in CORPORA:
        (source / f"{corpus.file}.gz").write_bytes(gzip.compress(corpus.name.encode()))
    with pytest.raises(DataError, match=r"source: has neither polemo2-test\.jsonl nor polemo2-test\.jsonl\.gz"):
        corpora.fetch(tmp_path / "data", source)
    (source / f"{POLEMO.file}.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"polemo2-test\.jsonl\.gz: cannot be read"):
        corpora.fetch(tmp_path / "data", source)
    (source / POLEMO.file).write_bytes(b"polemo")
    said = corpora.fetch(tmp_path / "data", source)
    assert said[-1] == f"polemo2-test: from {source / POLEMO.file}"
    assert {file.name: file.read_bytes().decode() for file in (tmp_path / "data").iterdir()} == {
        **{corpus.file: corpus.name for corpus in CORPORA},
        POLEMO.file: "polemo",
    }
