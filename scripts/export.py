"""Export a checkpoint to ONNX and quantize it as its spec says.

    python -m scripts.export sentiment-pl-en
    python -m scripts.export sentiment-pl-en --checkpoint path/to/checkpoint --texts texts.txt

Activation scales are taken from rated texts of the training part, or from the lines of --texts: best from texts like
those that will be asked. A ready ONNX file is upgraded to the opset of the spec instead of exported.

Reads   models/NAME/model.yaml and a Hugging Face checkpoint or a ready ONNX file (by default build/NAME/checkpoint)
Writes  build/NAME/float.onnx         the graph in float32
        models/NAME/model.onnx        the graph that is served, quantized
        models/NAME/tokenizer.json    the tokenizer that is served
        models/NAME/report.json       the section "export"

Refused, before anything is written: a checkpoint whose labels are not those of the spec, in this order; a tokenizer of
another model; files that are not those that were downloaded.

Exit codes: 0 done, 1 the checkpoint, the spec or the data cannot be used (the message says what to do).
Next: python -m scripts.verify NAME
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
from tqdm import tqdm

from modeling.environment import versions
from modeling.errors import ModelingError
from modeling.evaluation.speed import feeds
from modeling.export import provenance
from modeling.export.checkpoint import check_tokenizer, export_float, require_checkpoint
from modeling.export.quantization import QuantizationError, quantize
from modeling.files import ROOT, ModelFiles, sha256
from modeling.tasks.sentiment import dataset
from modeling.tasks.sentiment.texts import calibration_texts, read_texts
from scripts.command import parser
from textserve.classifier import load_tokenizer
from textserve.spec import SpecError


def export(files: ModelFiles, checkpoint: Path, texts: list[str] | None) -> dict[str, Any]:
    """Write the float and the served graph, and return the section ``export`` of the report.

    Args:
        files: of the model.
        checkpoint: folder of the checkpoint, or of the ready ONNX file and its tokenizer.
        texts: calibration texts; ``None`` takes them from the training data.

    Raises:
        ModelingError: see "Refused" in the module's docstring.
    """
    spec = files.spec()
    require_checkpoint(spec, checkpoint)
    provenance.of(files, checkpoint)
    check_tokenizer(spec, checkpoint)
    export_float(spec, checkpoint, files.float_model, files.tokenizer)
    section: dict[str, Any] = {
        "versions": versions(["torch", "transformers", "optimum-onnx", "onnx", "onnxruntime"]),
        "float_bytes": files.float_model.stat().st_size,
    }
    if spec.quantization.method == "none":
        shutil.copyfile(files.float_model, files.model)
    else:
        tokenizer = load_tokenizer(spec, files.tokenizer)
        texts = texts or calibration_texts(spec, ROOT / "build" / "data")
        model, report = quantize(
            onnx.load(files.float_model),
            (feeds(spec, tokenizer, text) for text in texts[: spec.quantization.calibration_texts]),
            outlier_ratio=spec.quantization.outlier_ratio,
            weight_bits=spec.quantization.weight_bits,
            progress=lambda items: tqdm(items, desc="quantize"),
        )
        onnx.save(model, files.model)
        section["quantization"] = {**asdict(report), "outlier_channels": report.outlier_channels}
    section |= {"bytes": files.model.stat().st_size, "sha256": sha256(files.model)}
    return section


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("model", help="name of a folder in models/")
    args.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (default: build/NAME/checkpoint)")
    args.add_argument("--texts", type=Path, help="file with a calibration text on each line (default: rated texts)")
    options = args.parse_args(arguments)
    try:
        files = ModelFiles.of(options.model)
        texts = read_texts(options.texts) if options.texts else None
        section = export(files, options.checkpoint or files.checkpoint, texts)
    except (ModelingError, SpecError, QuantizationError, dataset.DataError) as error:
        print(error, file=sys.stderr)
        return 1
    files.add_to_report("export", section)
    print(
        f"{files.model.relative_to(ROOT)}: {section['bytes'] / 1e6:.1f} MB from {section['float_bytes'] / 1e6:.1f} MB"
    )
    if "quantization" in section:
        quantization = section["quantization"]
        print(
            f"{len(quantization['linears'])} linear layers and {len(quantization['tables'])} tables in INT8, "
            f"{quantization['outlier_channels']} outlier channels in float"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
