"""Whether a checkpoint is still what was downloaded or trained, and what to write down about where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.files import ModelFiles, sha256


def of(files: ModelFiles, checkpoint: Path) -> dict[str, Any]:
    """The source of ``checkpoint``: the section ``source`` of the report, if that is what the folder holds.

    For a checkpoint that nothing was recorded of, from training or put there by hand, that and the SHA-256 of each
    file.

    Raises:
        ModelingError: if the model's own checkpoint is not what download.py left, naming the file.
    """
    source, report = files.spec().source, files.report()
    found = {file.name: sha256(file) for file in sorted(checkpoint.iterdir()) if file.is_file()}
    recorded = report.get("source")
    if recorded is not None:
        changed = [name for name, digest in recorded["sha256"].items() if found.get(name) != digest]
        if not changed:
            return dict(recorded)
        # Training writes into the same folder, and another folder is somebody's own affair.
        if source.kind != "training" and checkpoint == files.checkpoint:
            raise ModelingError(
                f"{checkpoint / changed[0]}: is not the file that was downloaded; "
                f"python -m scripts.download {files.folder.name} fetches it again"
            )
    kind = "training" if source.kind == "training" else "folder"
    return {"kind": kind, "repository": source.repository, "sha256": found}
