"""Summarize a pipeline run on one page: tests, the models and their gates, the image, the benchmark.

    python -m scripts.summary sentiment-pl-en sentiment-en-head

Reads the results of earlier steps from build/, or from build/report/ if another machine wrote them:

    junit/*.xml or *.xml     pytest --junit-xml
    image-*.json             make image-save
    benchmark/compare.json   make benchmark QUICK=1; a full run writes benchmarks/results/compare.json
    models/NAME/report.json  make verify and make evaluate

The page names what is missing. Prints Markdown and writes it to build/summary.md; in a GitHub workflow it is also the
summary of the run.

Exit codes: 0 done, 1 there is no such model, or a file cannot be read.
"""

from __future__ import annotations

import sys

from modeling.files import ROOT
from release.summary import render
from scripts.command import append_to, command, parser

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("models", nargs="+", help="names of folders in models/")
    summary = render(ROOT, args.parse_args(arguments).models)
    print(summary)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "summary.md").write_text(summary, encoding="utf-8")
    append_to(SUMMARY_VARIABLE, summary)


if __name__ == "__main__":
    sys.exit(main())
