"""Measure what a model reads and answers on known texts; the service compares the texts that it serves with that.

    python -m scripts.reference sentiment-pl-en
    python -m scripts.reference sentiment-pl-en --texts served.jsonl

The texts should be like the texts to serve, but not used in training. They come from --texts, a .jsonl file of rows
{"text", "text_pair"?, "group"?}, by default from the model's task or its labelled texts (see scripts/evaluate.py). They
are in groups, such as languages: a change in the shares of the groups is not drift. A group with fewer than 100 texts
is left out.

Writes models/NAME/reference.json: histograms, no texts. It does not change answers, nor the version of the model.

Prints the number of texts by group. Exit codes: 0 written, or there are no texts, 1 a file is missing or unreadable.
Next: python -m scripts.save NAME
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from modeling import rows
from modeling.evaluation.reference import MIN_TEXTS, write_reference
from scripts.command import command, model_parser
from textserve.spec import Input, ModelSpec


def grouped(file: Path, spec: ModelSpec) -> dict[str, Sequence[Input]]:
    """The texts or pairs in ``file`` by group; raises :class:`ModelingError` that names the first wrong line."""
    found: dict[str, list[rows.Row]] = {}
    for row in rows.read_lines(file, "--texts "):
        found.setdefault(str(row.get("group") or "texts"), []).append(row)
    return {group: rows.plain(group_rows, spec) for group, group_rows in found.items()}


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = model_parser(__doc__)
    args.add_argument("--texts", type=Path, help="file of texts with their groups (default: those of the task)")
    options = args.parse_args(arguments)
    groups = write_reference(options.files, grouped(options.texts, options.files.spec()) if options.texts else None)
    for group, texts in groups.items():
        print(f"{texts:>6} {group}")
    if not groups:
        print(f"no reference: no group has {MIN_TEXTS} texts")


if __name__ == "__main__":
    sys.exit(main())
