"""Recover a float checkpoint from an exported model, to train the model further without its source.

    python -m scripts.recover sentiment-pl-en --like path/to/checkpoint

For a BERT classifier that scripts/export.py quantized: the weights are exact to half a step of INT8, which a low
learning rate soon corrects. Configuration and tokenizer come from --like, a checkpoint of the same network.

Reads   models/NAME/model.onnx
Writes  build/NAME/recovered          a checkpoint in Hugging Face's format

Exit codes: 0 done, 1 the graph or the checkpoint cannot be used.
Next: python -m scripts.train NAME --recipe full --base build/NAME/recovered
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--like", type=Path, required=True, help="checkpoint of the same network")
    options = args.parse_args(arguments)
    from modeling.export.recovery import recover

    output = options.files.build / "recovered"
    recover(options.files.model, options.like, output)
    name = options.files.folder.name
    print(f"build/{name}/recovered: the weights of models/{name}/{options.files.model.name} in float32")


if __name__ == "__main__":
    sys.exit(main())
