"""Describe a checkpoint: write models/NAME/model.yaml.

    python -m scripts.new my-model OWNER/MODEL
    python -m scripts.new my-model OWNER/MODEL@REVISION
    python -m scripts.new my-model path/to/checkpoint --allow-pickle

Reads labels, kind of answer, activation, tokens and inputs from the checkpoint, languages and licence from its card
(README.md). A revision on the hub, by default the main branch, is pinned to its commit. The golden texts are examples
of the card and everyday texts that the model answers most surely. Comments in the file mark what to look at.

Writes  build/NAME/checkpoint      the checkpoint, so that make model does not download it again
        models/NAME/model.yaml     a model that exists is not overwritten
        models/NAME/report.json    the section "source"

The hub's client reads HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, as for scripts.download.

Exit codes: 0 done, 1 the model exists, or the checkpoint was not found or cannot be served.
Next: make model MODEL=NAME
"""

from __future__ import annotations

import sys

from scripts.command import command, parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of the new folder in models/")
    args.add_argument("source", help="folder, ID or ID@REVISION on the hub")
    args.add_argument("--allow-pickle", action="store_true", help="accept pytorch_model.bin; trust its author")
    options = args.parse_args(arguments)
    from modeling.new.creation import create

    print(create(options.model, options.source, allow_pickle=options.allow_pickle))


if __name__ == "__main__":
    sys.exit(main())
