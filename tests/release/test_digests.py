"""What is refused before a push: an image or an SBOM that is not the one that the earlier jobs saw."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from release.digests import UntestedError, check, statement
from scripts import digests as script
from scripts.command import OUTPUT_VARIABLE


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    images = [tmp_path / f"image-{architecture}.tar" for architecture in ("amd64", "arm64")]
    for image in images:
        image.write_text(image.stem, encoding="utf-8")
        image.with_suffix(".spdx.json").write_text(f"packages of {image.stem}", encoding="utf-8")
    return images


@pytest.fixture
def said(images: list[Path]) -> dict[str, str]:
    """What the jobs said of the two images, the scan of their SBOMs too."""
    both = " ".join(map(statement, images))
    tar = " ".join(word for word in both.split() if ".tar=" in word)
    return {"built": tar, "tested": tar, "scanned": both}


def test_a_statement_has_the_sha256_of_the_image_and_of_its_sbom(images: list[Path]) -> None:
    image, sbom = (word.partition("=") for word in statement(images[0]).split())
    assert (image[0], image[2]) == ("image-amd64.tar", hashlib.sha256(b"image-amd64").hexdigest())
    assert (sbom[0], sbom[2]) == ("image-amd64.spdx.json", hashlib.sha256(b"packages of image-amd64").hexdigest())


def test_the_files_that_every_job_saw_are_accepted(images: list[Path], said: dict[str, str]) -> None:
    check(images, said)
    # Of one machine that did everything.
    check(images, dict.fromkeys(said, said["scanned"]))


@pytest.mark.parametrize("job", ["built", "tested", "scanned"])
def test_an_image_that_one_job_did_not_see_is_refused(images: list[Path], said: dict[str, str], job: str) -> None:
    added = images[0].with_name("image-s390x.tar")
    added.write_text("attack", encoding="utf-8")
    added.with_suffix(".spdx.json").write_text("packages", encoding="utf-8")
    everywhere = {
        name: f"{words} {statement(added) if name == 'scanned' else statement(added).split()[0]}"
        for name, words in said.items()
    }
    check([*images, added], everywhere)
    with pytest.raises(UntestedError, match=rf"image-s390x\.\S+ is refused: nothing says that it was {job}"):
        check([*images, added], {**everywhere, job: said[job]})


@pytest.mark.parametrize("job", ["built", "tested", "scanned"])
def test_an_image_that_differs_from_the_one_of_a_job_is_refused(
    images: list[Path], said: dict[str, str], job: str
) -> None:
    before = said[job]
    images[1].write_text("attack", encoding="utf-8")
    now = " ".join(map(statement, images))
    said = {name: " ".join(word for word in now.split() if name == "scanned" or ".tar=" in word) for name in said}
    check(images, said)
    with pytest.raises(UntestedError, match=rf"image-arm64\.tar is refused: it is not the file that was {job}"):
        check(images, {**said, job: before})


def test_an_sbom_must_be_the_one_of_the_scan(images: list[Path], said: dict[str, str]) -> None:
    sbom = images[0].with_suffix(".spdx.json")
    sbom.write_text("no packages", encoding="utf-8")
    with pytest.raises(UntestedError, match=r"image-amd64\.spdx\.json is refused: it is not the file that was scanned"):
        check(images, said)
    sbom.unlink()
    with pytest.raises(UntestedError, match=r"image-amd64\.spdx\.json was scanned, but it is not here"):
        check(images, said)


def test_an_image_that_was_tested_must_be_pushed_too(images: list[Path], said: dict[str, str]) -> None:
    with pytest.raises(UntestedError, match=r"image-arm64\.tar was built, but it is not here"):
        check(images[:1], said)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "nothing says that it was built"),
        ({"built": "image-amd64.tar"}, "expected NAME=SHA256"),
        ({"built": f"image-amd64.tar={'0' * 64} image-amd64.tar={'1' * 64}"}, "two files of this name were built"),
    ],
)
def test_what_no_job_said_or_not_clearly_is_refused(images: list[Path], said: dict[str, str], problem: str) -> None:
    with pytest.raises(UntestedError, match=problem):
        check(images, said)


def test_a_workflow_step_gets_the_statement_by_architecture(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(OUTPUT_VARIABLE, str(tmp_path / "outputs"))
    assert script.main([str(images[1])]) == 0
    line = capsys.readouterr().out
    assert line == f"{statement(images[1])}\n"
    assert (tmp_path / "outputs").read_text(encoding="utf-8") == f"arm64={line}"


def test_a_missing_file_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([str(tmp_path / "image-none.tar")]) == 1
    assert "image-none.tar: No such file" in capsys.readouterr().err
