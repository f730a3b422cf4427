"""Fetch a model from its source: a Hugging Face hub, a folder, MLflow, or a ready ONNX file.

    python -m scripts.download twitter-roberta-base-sentiment-latest
    python -m scripts.download NAME --source path/to/checkpoint
    python -m scripts.download NAME --source models:/textserve@staging
    python -m scripts.download NAME --source OWNER/MODEL@COMMIT --allow-pickle

The source is that of models/NAME/model.yaml, or the one of --source. From a hub only a commit is taken, since a branch
moves; for a branch or a tag the commit to pin is said. Every file is compared with the digest that the hub gives, and
with those of source.sha256 in the spec. Weights are taken as safetensors; pickles (pytorch_model.bin) may run any
program where they are opened, and are refused without --allow-pickle.

The hub's client reads HF_TOKEN, HF_ENDPOINT (another hub), HF_HOME (its cache, in which a download that broke off goes
on) and HF_HUB_OFFLINE (1: the cache only). MLflow's reads MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD.

Writes  build/NAME/checkpoint      the checkpoint, or the ready ONNX file and its tokenizer
        models/NAME/report.json    the section "source": kind, repository, revision, run, SHA-256 of each file

Exit codes: 0 done, or there is nothing to fetch, 1 refused or not there (the message says what to do).
Next: python -m scripts.export NAME
"""

from __future__ import annotations

import sys

import yaml

from modeling import sources
from modeling.errors import ModelingError
from modeling.files import ROOT, ModelFiles
from modeling.spec import ModelSpec
from scripts.command import parser
from textserve.spec import SPEC_FILE, SpecError


def load_spec(files: ModelFiles) -> ModelSpec:
    """The model's spec.

    Raises:
        SpecError: if it is not valid.
        ModelingError: if what is wrong is a branch or a tag as revision, with the commit to pin.
    """
    try:
        return files.spec()
    except SpecError:
        content = yaml.safe_load((files.folder / SPEC_FILE).read_text(encoding="utf-8"))
        source = content.get("source") if isinstance(content, dict) else None
        if not isinstance(source, dict) or source.get("kind") != "huggingface" or "repository" not in source:
            raise
        revision = str(source.get("revision", "main"))
        if sources.COMMIT.fullmatch(revision):
            raise
        found = sources.moves(str(source["repository"]), revision)
        raise ModelingError(f"{files.folder / SPEC_FILE}: source.revision: {found}") from None


def download(files: ModelFiles, place: str | None, *, allow_pickle: bool) -> str:
    """Fetch the checkpoint, write the section ``source`` of the report, and return what to tell.

    Args:
        files: of the model.
        place: instead of the source of the spec; see :func:`modeling.sources.elsewhere`.
        allow_pickle: see :func:`modeling.sources.fetch`.

    Raises:
        SpecError: if the spec is not valid.
        ModelingError: if it cannot be fetched, or is refused.
    """
    spec = load_spec(files)
    source = sources.elsewhere(spec.source, place) if place else spec.source
    if source.kind == "training":
        if (files.checkpoint / "config.json").exists():
            return f"{_short(files)}: is there from training; nothing to fetch"
        raise ModelingError(
            f"{spec.name}: its checkpoint comes from training: make train MODEL={spec.name}, or fetch one that was "
            "trained elsewhere with --source (a folder, or models:/NAME@ALIAS of MLflow)"
        )
    section = sources.fetch(source, files.checkpoint, allow_pickle=allow_pickle)
    files.add_to_report("source", section)
    at = f"@{section['revision']}" if "revision" in section else ""
    size = sum((files.checkpoint / name).stat().st_size for name in section["sha256"])
    return f"{_short(files)}: {len(section['sha256'])} files, {size / 1e6:.1f} MB from {section['repository']}{at}"


def _short(files: ModelFiles) -> str:
    inside = files.checkpoint.is_relative_to(ROOT)
    return str(files.checkpoint.relative_to(ROOT) if inside else files.checkpoint)


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--source", help="folder, ID@COMMIT on the hub, or MLflow URI (default: the spec's)")
    args.add_argument(
        "--allow-pickle", action="store_true", help="take weights as pytorch_model.bin; trust their author"
    )
    options = args.parse_args(arguments)
    try:
        print(download(ModelFiles.of(options.model), options.source, allow_pickle=options.allow_pickle))
    except (ModelingError, SpecError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
