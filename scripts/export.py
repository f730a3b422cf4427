"""Export a checkpoint to ONNX and quantize it.

    python -m scripts.export sentiment-pl-en
    python -m scripts.export sentiment-pl-en --checkpoint path/to/checkpoint --texts texts.txt

Calibration texts set the activation scales: the lines of --texts, which should resemble the texts to serve, or by
default rated texts of the training part. A ready ONNX file is upgraded to the opset of the spec.

Reads   models/NAME/model.yaml and a Hugging Face checkpoint or a ready ONNX file (default: build/NAME/checkpoint)
Writes  build/NAME/float.onnx         the float32 graph
        models/NAME/model.onnx        the served, quantized graph
        models/NAME/tokenizer.json    the served tokenizer
        models/NAME/report.json       the section "export"

Fails before it writes anything if the checkpoint's labels are not those of the spec in this order, the tokenizer is
another model's, or the files changed since the download.

Exit codes: 0 done, 1 the checkpoint, the spec or the data cannot be used.
Next: python -m scripts.verify NAME
"""

from __future__ import annotations

import argparse
import sys

from modeling.export.export import export
from modeling.files import ModelFiles
from modeling.tasks.sentiment.texts import read_texts
from scripts.command import model_parser, run


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = model_parser(__doc__, texts="file with one calibration text a line (default: rated texts)")
    return run(args, _run, arguments)


def _run(options: argparse.Namespace) -> None:
    files = ModelFiles.of(options.model)
    texts = read_texts(options.texts) if options.texts else None
    section = export(files, options.checkpoint or files.checkpoint, texts)
    sizes = f"{section['bytes'] / 1e6:.1f} MB from {section['float_bytes'] / 1e6:.1f} MB"
    print(f"models/{options.model}/{files.model.name}: {sizes}")
    if quantization := section.get("quantization"):
        print(
            f"{len(quantization['linears'])} linear layers and {len(quantization['tables'])} tables in INT8, "
            f"{quantization['outlier_channels']} outlier channels in float"
        )


if __name__ == "__main__":
    sys.exit(main())
