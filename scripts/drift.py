"""Compare served texts with a model's reference, as the service does with the latest texts.

    python -m scripts.drift sentiment-pl-en served.csv

The texts are those in the column text of a .csv file, or of the rows {"text", "text_pair"?} of a .jsonl file, such as
a sample from the service or scored files. For each statistic (docs/drift.md), prints the population stability index and
the p-value of the hypothesis that the texts are like the reference.

Writes build/NAME/drift/reference.csv, served.csv    the statistics of each text, and no text
`make drift` makes a page of these files. If the texts of reference.json were read from elsewhere, by
scripts/reference.py --texts, there is no reference.csv, and so no page.

Exit codes: 0 the texts are like the reference, 1 a file is missing or cannot be read, 2 a statistic has moved.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modeling.evaluation.served import distances, read_served
from scripts.command import command, model_parser


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("served", type=Path, metavar="TEXTS", help="file with the served texts, .csv or .jsonl")
    options = args.parse_args(arguments)
    found = distances(options.files, read_served(options.served, options.files.spec()), options.files.build / "drift")
    for name, distance in found.items():
        verdict = "moved" if distance.drifted else "ok"
        print(f"{name:<8} {verdict:<6} index {distance.psi:.3f}, p-value {distance.p_value:.2g}")
    return 2 if any(distance.drifted for distance in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
