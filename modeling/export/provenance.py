"""The provenance of a checkpoint, and a check that it is still the downloaded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.files import ModelFiles, sha256


def of(files: ModelFiles, checkpoint: Path) -> dict[str, Any]:
    """The source of ``checkpoint``: the section ``source`` of the report if the files match it.

    Otherwise (from training, or copied by hand) its kind and the SHA-256 of each file.

    Raises:
        ModelingError: if the model's own checkpoint changed since the download, naming the file.
    """
    source = files.spec().source
    found = {file.name: sha256(file) for file in sorted(checkpoint.iterdir()) if file.is_file()}
    if recorded := files.report().get("source"):
        changed = [name for name, digest in recorded["sha256"].items() if found.get(name) != digest]
        if not changed:
            return dict(recorded)
        # Training writes into the same folder; any other folder is the user's choice.
        if source.kind != "training" and checkpoint == files.checkpoint:
            raise ModelingError(
                f"{checkpoint / changed[0]}: is not the downloaded file; "
                f"run python -m scripts.download {files.folder.name} again"
            )
    kind = "training" if source.kind == "training" else "folder"
    return {"kind": kind, "repository": source.repository, "sha256": found}
