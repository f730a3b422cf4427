"""Download the checkpoint of a model and record its source."""

from __future__ import annotations

import yaml

from modeling import sources
from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.spec import ModelSpec
from textserve.spec import SPEC_FILE, SpecError


def download(files: ModelFiles, other: str | None, *, allow_pickle: bool) -> str:
    """Fetch the checkpoint, write the section ``source`` of the report, and return a summary line.

    Args:
        files: of the model.
        other: overrides the source of the spec; see :func:`modeling.sources.override`.
        allow_pickle: see :func:`modeling.sources.fetch`.

    Raises:
        SpecError: if the spec is not valid.
        ModelingError: if the checkpoint cannot be fetched or is rejected.
    """
    spec, folder = _spec(files), f"build/{files.folder.name}/checkpoint"
    source = sources.override(spec.source, other) if other else spec.source
    if source.kind == "training":
        if (files.checkpoint / "config.json").exists():
            return f"{folder}: exists from training; nothing to fetch"
        raise ModelingError(
            f"{spec.name}: its checkpoint comes from training: make train MODEL={spec.name}, or fetch a trained one "
            "with --source (a folder, or models:/NAME@ALIAS of MLflow)"
        )
    section = sources.fetch(source, files.checkpoint, allow_pickle=allow_pickle)
    files.add_to_report("source", section)
    revision = f"@{section['revision']}" if "revision" in section else ""
    size = sum((files.checkpoint / name).stat().st_size for name in section["sha256"])
    return f"{folder}: {len(section['sha256'])} files, {size / 1e6:.1f} MB from {section['repository']}{revision}"


def _spec(files: ModelFiles) -> ModelSpec:
    """The spec. If its revision is a branch or a tag, the error has the commit to pin."""
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
        problem = sources.unpinned(str(source["repository"]), revision)
        raise ModelingError(f"{files.folder / SPEC_FILE}: source.revision: {problem}") from None
