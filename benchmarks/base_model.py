"""Make a model of BERT-base's size, which shows where the overhead of a server no longer matters.

    python -m benchmarks.base_model FOLDER DATA_FOLDER

The model has 12 layers of width 768 with random weights, in INT8, the tokenizer of the default model and three labels.
Its answers mean nothing, but depend on the text as those of a trained network do. Making it once takes minutes and 2 GB
of memory. Prints the folder of the model, FOLDER/bert-base-random.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import transformers

from benchmarks import checkpoints, texts
from benchmarks.architectures import describe
from benchmarks.checkpoints import ARCHITECTURES, MAX_TOKENS, Size
from benchmarks.servers import DEFAULT_MODEL
from modeling.export.export import export
from modeling.export.verification import verify
from modeling.files import ModelFiles
from scripts.command import command, parser
from textserve.classifier import TOKENIZER_FILE
from textserve.spec import ModelSpec

NAME = "bert-base-random"
TEXTS = 24


def make(root: Path, data: Path) -> ModelFiles:
    """Make the model in ``root/models``, exported and verified with texts of the benchmark, and return its files."""
    pad = ModelSpec.load(DEFAULT_MODEL).tokenization.pad_id
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(DEFAULT_MODEL / TOKENIZER_FILE), model_max_length=MAX_TOKENS
    )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    inputs, checkpoint = texts.load("short", data, DEFAULT_MODEL / TOKENIZER_FILE)[:TEXTS], root / "checkpoint"
    size = Size(hidden=768, layers=12, heads=12)
    checkpoints.make(ARCHITECTURES["BERT"], checkpoint, inputs, size, tokenizer=tokenizer)
    files = describe(
        root,
        ARCHITECTURES["BERT"],
        checkpoint,
        inputs,
        name=NAME,
        tokenization={"pad_id": pad, "max_tokens": MAX_TOKENS},
    )
    export(files, checkpoint, inputs[: TEXTS // 2])
    verify(files, checkpoint, inputs)
    return files


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("folder", type=Path, help="folder in which the folder of the model is made")
    args.add_argument("data", type=Path, help="folder of the data packages")
    options = args.parse_args(arguments)
    target = options.folder / NAME
    if not target.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            shutil.move(make(Path(root), options.data).folder, target)
    print(target)


if __name__ == "__main__":
    sys.exit(main())
