"""Verify that the served ONNX file answers like its source, within the limits of the spec.

    python -m scripts.verify sentiment-pl-en
    python -m scripts.verify sentiment-pl-en --checkpoint path/to/checkpoint --texts texts.txt

The source is the checkpoint, run by PyTorch in float32, or the original ready ONNX file. The texts are the labelled
texts of the model (see scripts/evaluate.py) and general English texts, or the lines of --texts (for a model of pairs,
the rows {"text", "text_pair"} of a .jsonl file). Measures, and compares with "fidelity" in models/NAME/model.yaml:

    agreement    share of texts with the same label, or the same set of labels, as the source
    ranks        for a number: Spearman's rank correlation with the source
    F1 loss      macro-F1, for several labels micro-F1, lost against the source (only for labelled texts)
    speed-up     against the float32 ONNX file, one text at a time on one core, median of alternating rounds
    exactness    largest difference of a score between a text alone and in random batches, and answers changed

Writes the section "verification" of models/NAME/report.json, with the digests of the verified files.

Exit codes: 0 within the limits, 1 a file is missing, unreadable or another model's, 2 a limit fails.
Next: python -m scripts.save NAME
"""

from __future__ import annotations

import sys

from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> int | None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__, texts="file with one text a line (default: labelled texts)")
    options = args.parse_args(arguments)
    from modeling.evaluation import fidelity
    from modeling.evaluation.card import answer_of
    from modeling.evaluation.names import TITLES
    from modeling.export.verification import verify

    section = verify(options.files, options.checkpoint or options.files.checkpoint, options.texts)
    batches, speed = section["batches"], section["texts_per_second"]
    print(f"texts        {section['texts']}, on {section['cpu']}")
    if "note" in section:
        print(f"             {section['note']}")
    name, likeness = "agreement", f"{section.get('agreement', 0):.2%}"
    if "agreement" not in section:
        name, likeness = "ranks", f"{section['rank_correlation']:.4f} with the source"
    print(f"{name:<12} {likeness}, largest difference {section['largest_difference']:.3f}")
    for key, title in TITLES.items():
        if f"torch_{key}" in section:
            print(f"{title:<12} {section[f'served_{key}']:.4f}, source {section[f'torch_{key}']:.4f}")
    print(f"speed-up     {section['speedup']:.2f} ({speed['served']} texts a second, float32 {speed['float32']})")
    changed = f"{batches['labels_changed']} {answer_of(section)}s changed"
    print(f"exactness    {changed}, {batches['largest_difference']:.1e} at most")
    problems = fidelity.problems(section, options.files.spec())
    for problem in problems:
        print(f"FAIL         {problem}", file=sys.stderr)
    if problems:
        print(fidelity.advice(problems), file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
