"""Export a checkpoint to ONNX and quantize it.

    python -m scripts.export sentiment-pl-en
    python -m scripts.export sentiment-pl-en --checkpoint path/to/checkpoint --texts texts.txt

Calibration texts set the activation scales, and should resemble the texts to serve. They are the lines of --texts; by
default those of calibration.txt in the model's folder, of the data set texts.calibration of its spec, or of its task;
or else general English texts, which the script then says. A model of pairs has calibration.jsonl, of rows {"text",
"text_pair"}, and --texts FILE.jsonl. A ready ONNX file is upgraded to the opset of the spec.

Reads   models/NAME/model.yaml and a Hugging Face checkpoint or a ready ONNX file (default: build/NAME/checkpoint)
Writes  build/NAME/float.onnx         the float32 graph
        models/NAME/model.onnx        the served, quantized graph
        models/NAME/tokenizer.json    the served tokenizer
        models/NAME/report.json       the section "export"
        models/NAME/reference.json    what the model reads and answers on known texts (scripts/reference.py)

A graph that cannot be quantized, or whose answers change when it is, is served in float, and the report says why; if
the spec names a quantization.method, this is an error.

Writes nothing if the labels are not those of the spec, the tokenizer belongs to another model, or the files changed.

Exit codes: 0 done, 1 the checkpoint, the spec or the data cannot be used.
Next: python -m scripts.verify NAME
"""

from __future__ import annotations

import sys

from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__, texts="file with one calibration text a line (default: calibration.txt)")
    options = args.parse_args(arguments)
    from modeling.evaluation.reference import write_reference
    from modeling.export.export import export

    files = options.files
    section = export(files, options.checkpoint or files.checkpoint, options.texts)
    sizes = f"{section['bytes'] / 1e6:.1f} MB from {section['float_bytes'] / 1e6:.1f} MB"
    print(f"models/{files.folder.name}/{files.model.name}: {sizes}")
    if "note" in section:
        print(f"calibrated on {section['note']}")
    if quantization := section.get("quantization"):
        print(
            f"{len(quantization['linears'])} linear layers and {len(quantization['tables'])} tables in INT8, "
            f"{quantization['outlier_channels']} outlier channels in float"
        )
        changed = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in quantization["optimization"].items())
        print(f"faster graph: {changed}")
    else:
        print(f"served in float: {section['float_reason']}")
    print(f"reference    {sum(write_reference(files).values())} texts")


if __name__ == "__main__":
    sys.exit(main())
