"""Save a verified model in the BentoML model store, from which the service and the Bento read it.

    python -m scripts.save sentiment-pl-en

Stores model.onnx, tokenizer.json, report.json and the serving part of model.yaml in $BENTOML_HOME. The version is
computed from what changes an answer: the SHA-256 of model.onnx and tokenizer.json, and labels, tokenization, graph and
golden texts of the spec. Saving an existing version again makes it the latest and updates its evaluation, reference and
description. A model that is not verified, or has changed since, is not saved. `bentoml models get NAME:VERSION -o
yaml` prints the metadata: source, spec, tool versions, CPU of the verification, fidelity and quality.

Prints the tag, NAME:VERSION. Exit codes: 0 saved or already stored, 1 not verified or a file is missing.
"""

from __future__ import annotations

import sys

from modeling.store import save
from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    print(save(model_parser(__doc__).parse_args(arguments).files))


if __name__ == "__main__":
    sys.exit(main())
