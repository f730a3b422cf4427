"""Fetch files of a repository on a Hugging Face hub, with a check of every digest and one-line errors."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import requests
from huggingface_hub import HfApi, constants, errors, hf_hub_download, snapshot_download

from modeling.errors import ModelingError, masked
from modeling.files import sha256

SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
# Selects files from the names of all files of a repository.
Select = Callable[[list[str]], list[str]]
Kind = Literal["model", "dataset"]


def fetch(repository: str, revision: str | None, into: Path, select: Select, kind: Kind = "model") -> str:
    """Copy the selected files of ``repository`` into the folder ``into``, and return their commit.

    ``revision`` is a commit; ``None`` is the main branch. Raises :class:`ModelingError` if the hub does not answer or
    denies access, or a file does not match the hub's digest.
    """
    with _plain_errors(repository, revision, kind):
        commit, names = _found(repository, revision, kind)
    try:
        chosen = select(names)
    except ModelingError as error:
        cache = " in the cache (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        raise ModelingError(f"{repository}{cache}: {error}") from error
    for name in chosen:
        with _plain_errors(repository, revision, kind, name):
            cached = Path(hf_hub_download(repository, name, revision=commit, repo_type=kind)).resolve()
        _check(cached, name)
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cached, into / name)
    return commit


def commit_of(repository: str, revision: str) -> str:
    """The commit of a branch or a tag; raises :class:`ModelingError` if the hub does not have it."""
    with _plain_errors(repository, revision):
        return _found(repository, revision)[0]


def _found(repository: str, revision: str | None, kind: Kind = "model") -> tuple[str, list[str]]:
    """The commit and the names of its files; from the cache if HF_HUB_OFFLINE is set."""
    names_of = _cached if constants.HF_HUB_OFFLINE else _listed
    return names_of(repository, revision, kind)


def _listed(repository: str, revision: str | None, kind: Kind) -> tuple[str, list[str]]:
    info = HfApi().repo_info(repository, revision=revision, repo_type=kind)
    return str(info.sha), sorted(file.rfilename for file in info.siblings or [])


def _cached(repository: str, revision: str | None, kind: Kind) -> tuple[str, list[str]]:
    folder = Path(snapshot_download(repository, revision=revision, repo_type=kind, local_files_only=True))
    return folder.name, sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _check(blob: Path, name: str) -> None:
    """Compare a cached file with its name, the hub's ETag: SHA-256 for large files, git's SHA-1 for others."""
    found = None
    if SHA256.fullmatch(blob.name):
        found = sha256(blob)
    elif GIT_SHA1.fullmatch(blob.name):
        content = blob.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found is not None and found != blob.name:
        blob.unlink()
        damage = f"the hub's digest is {blob.name}, the file's {found}"
        raise ModelingError(f"{name}: is truncated or damaged: {damage}; it was removed, retry")


@contextmanager
def _plain_errors(repository: str, revision: str | None, kind: Kind = "model", name: str = "") -> Iterator[None]:
    """Turn errors of the hub's client into one line with the fix."""
    try:
        yield
    except (OSError, errors.HFValidationError) as error:
        if not (message := _explain(error, repository, revision, kind, name)):
            raise
        raise ModelingError(message) from error


def _explain(error: Exception, repository: str, revision: str | None, kind: Kind, name: str) -> str | None:
    hub, at = masked(constants.ENDPOINT), f"{repository}@{revision}" if revision else repository
    page = f"{hub}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    instead = ", or use --source FOLDER" if kind == "model" else ""
    match error:
        case errors.GatedRepoError():
            return f"{repository}: is gated; request access at {page}, and set HF_TOKEN to your token"
        case errors.RepositoryNotFoundError():
            return f"{repository}: not found on {hub}; check the id, or set HF_TOKEN if it is private"
        case errors.RevisionNotFoundError():
            return f"{repository}: has no revision {revision}; check it at {page}/commits"
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            file = f"{name} of {at}" if name else at
            return f"{file}: is not in the cache in HF_HOME, and HF_HUB_OFFLINE is set; unset it{instead}"
        case (
            errors.OfflineModeIsEnabled()
            | errors.LocalEntryNotFoundError()
            | requests.ConnectionError()
            | requests.Timeout()
        ):
            fix = "check the network, or HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use the cache"
            return f"{hub} does not answer; {fix}{instead}"
        case errors.EntryNotFoundError():
            return f"{at}: has no file {name}"
        case errors.HFValidationError():
            return f"{repository}: is not a hub id, which has the form OWNER/NAME"
        case errors.HfHubHTTPError(response=response) if response.status_code in (401, 403):
            return f"{repository}: {hub} answers {response.status_code}; check that HF_TOKEN can read this repository"
        case errors.HfHubHTTPError(response=response):
            return f"{at}: {hub} answers {response.status_code}; retry later"
        case requests.RequestException():
            return f"{name or at}: the download was interrupted ({type(error).__name__}); retry to resume it"
        case OSError(errno=None):  # the client's own check of the size
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return f"{name or at}: is truncated: {reason.rstrip('.')}; retry"
    return None
