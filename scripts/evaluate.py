"""Measure a model: quality, calibration, behaviour, speed and size, compared with the model in use, and its gates.

    python -m scripts.evaluate sentiment-pl-en
    python -m scripts.evaluate sentiment-pl-en --against twitter-sentiment-pl-base

Quality is measured on labelled texts, with 95 % intervals. The texts are those of test-LANGUAGE.jsonl or test.jsonl in
models/NAME, with {"text", "text_pair"?, "label" or "labels" or "score"} on each line, of a data set that the spec
names, or of the model's task. Behaviour is tested on the cases of behaviour.yaml, if there are any. The model in use is
the registered version with the alias "champion", if there is any (MLFLOW_TRACKING_URI, or build/mlflow.db); --against
NAME takes models/NAME instead, and --against none skips the comparison. This script prints the gates of the spec;
scripts/promote.py enforces them.

Writes  models/NAME/report.json        the sections "quality", "behaviour", "performance" and "evaluation"
        build/NAME/report.html         the report as a page: one file, with its figures
        models/NAME/images/*.png       confusion matrices or scatter plots, reliability diagram, effects of quantization
        models/NAME/README.md          the blocks between <!-- NAME --> and <!-- /NAME -->

Exit codes: 0 all gates pass, 1 a file is missing or cannot be read, or the registry fails, 2 a gate fails.
Next: python -m scripts.promote NAME
"""

from __future__ import annotations

import sys

from modeling.files import ROOT
from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--against", metavar="NAME", help='another folder in models/, or "none" (default: the champion)')
    options = args.parse_args(arguments)
    from modeling.evaluation import card
    from modeling.evaluation.report import evaluate

    gates, page = evaluate(options.files, options.against)
    report = options.files.report()
    print(f"{card.quality(report)}\n\n{card.behaviour(report)}\n")
    for gate in gates:
        print(f"{'ok  ' if gate.holds else 'FAIL'}  {gate.name}: {gate.verdict}")
    failed = sum(not gate.holds for gate in gates)
    outcome = f"{failed} of {len(gates)} gates fail" if failed else f"all {len(gates)} gates pass"
    print(f"\n{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}: {outcome}")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
