"""Download a model from its source: a Hugging Face hub, a folder, MLflow, or a ready ONNX file.

    python -m scripts.download twitter-roberta-base-sentiment-latest
    python -m scripts.download NAME --source path/to/checkpoint
    python -m scripts.download NAME --source models:/textserve@staging
    python -m scripts.download NAME --source OWNER/MODEL@COMMIT --allow-pickle

The source is that in models/NAME/model.yaml, or --source. A hub revision must be a commit; for a branch or a tag the
error names the commit to pin. Every file is checked against the digest that the hub gives and against source.sha256 of
the spec. Weights must be safetensors: pickles (pytorch_model.bin) can execute code when opened and need --allow-pickle.

The hub's client reads HF_TOKEN, HF_ENDPOINT, HF_HOME (its cache, from which interrupted downloads resume) and
HF_HUB_OFFLINE (1: cache only); MLflow reads MLFLOW_TRACKING_URI, _USERNAME and _PASSWORD.

Writes  build/NAME/checkpoint      the checkpoint, or the ready ONNX file and its tokenizer
        models/NAME/report.json    the section "source": kind, repository, revision, run, SHA-256 of each file

Exit codes: 0 done or nothing to download, 1 rejected or not found.
Next: python -m scripts.export NAME
"""

from __future__ import annotations

import sys

from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--source", help="folder, ID@COMMIT on the hub, or MLflow URI (default: the spec's)")
    args.add_argument("--allow-pickle", action="store_true", help="accept pytorch_model.bin; trust its author")
    options = args.parse_args(arguments)
    from modeling.sources import download

    print(download(options.files, options.source, allow_pickle=options.allow_pickle))


if __name__ == "__main__":
    sys.exit(main())
