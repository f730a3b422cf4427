"""Save a model into the BentoML model store, from which the service and the Bento take it.

    python -m scripts.save sentiment-pl-en

Copies model.yaml, model.onnx, tokenizer.json and report.json of models/NAME into the store of $BENTOML_HOME. The
version is made of the SHA-256 of the first three, so that saving the same files again changes nothing. What was not
verified, or was changed since, is refused.

Prints the tag, NAME:VERSION. Exit codes: 0 saved or already there, 1 refused (the message says why).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound

from scripts.pipeline import fidelity
from scripts.pipeline.files import REPORT_FILE, ModelFiles, ScriptError, parser
from sentiment.spec import SPEC_FILE, STORED_FOLDER, SpecError

VERSION_DIGITS = 16


def save(files: ModelFiles) -> str:
    """Save the model if it is not in the store, and return its tag.

    Raises:
        ScriptError: if a file is missing, or the files are not those that verify.py passed.
        SpecError: if the spec is not valid.
    """
    spec, digests = files.spec(), files.digests()
    verification = files.report().get("verification")
    again = f"run python -m scripts.verify {spec.name}"
    if verification is None:
        raise ScriptError(f"{files.folder / REPORT_FILE}: the model is not verified; {again}")
    for key, now in fidelity.identity(spec, digests).items():
        if verification["identity"].get(key) != now:
            raise ScriptError(f"{files.folder}: {key} changed after the model was verified; {again}")
    if found := fidelity.problems(verification, spec):
        raise ScriptError(f"{files.folder / REPORT_FILE}: outside the limits of the spec: {'; '.join(found)}")
    joined = "\n".join(f"{digest}  {name}" for name, digest in sorted(digests.items()))
    tag = f"{spec.name}:{hashlib.sha256(joined.encode()).hexdigest()[:VERSION_DIGITS]}"
    with contextlib.suppress(NotFound):
        stored = bentoml.models.get(tag)
        # The service takes the latest version, and this is the one that was asked for last.
        (Path(stored.path).parent / "latest").write_text(str(stored.tag.version))
        return tag
    # The store's metadata cannot hold a null, which a spec's graph may.
    measured = {key: value for key, value in verification.items() if key != "identity"}
    with bentoml.models.create(
        tag,
        labels={"license": spec.license, "languages": "-".join(spec.languages)},
        metadata={"sha256": digests, "verification": measured},
    ) as model:
        folder = Path(model.path) / STORED_FOLDER
        folder.mkdir()
        for name in (*digests, REPORT_FILE):
            shutil.copyfile(files.folder / name, folder / name)
    return tag


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help=f"name of a folder in models/ with a {SPEC_FILE}")
    options = args.parse_args(arguments)
    try:
        print(save(ModelFiles.of(options.model)))
    except (ScriptError, SpecError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
