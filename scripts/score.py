"""Score the texts of files of any size with a stored model, on every core of this machine or on a Ray cluster.

    python -m scripts.score reviews.csv scored.parquet --text-column review
    python -m scripts.score 's3://bucket/2024/*.parquet' s3://bucket/scored.parquet
    zcat archive.jsonl.gz | python -m scripts.score - - | gzip > scored.jsonl.gz

Reads CSV, JSON Lines and Parquet: a file, all files of a folder, those that match a pattern, or - for a pipe. Writes
the rows in the order of the input, with all columns of the input and those of the answer: label, score, a score for
each label, tokens, truncated, model. Rows that cannot be scored go to OUTPUT.bad.jsonl, with number and reason.

The output gets its name only when it is complete. Until then, finished parts are kept beside it: to resume a run that
was stopped, run the same command again. --report PAGE.html says how the texts differ from those that the model was
measured on. See docs/bulk.md for models of pairs, clusters, Spark, and how long scoring takes.

Exit codes: 0 all rows scored, 1 no output (the message says why), 2 wrong arguments, 3 some rows are bad,
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.command import command, parser

FORMATS = ("csv", "jsonl", "parquet")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of ``arguments``, or of the command line."""
    args = parser(__doc__)
    args.add_argument("input", help="a file, folder or pattern, on this machine or ADDRESS://…; - for standard input")
    args.add_argument("output", help="a file, on this machine or ADDRESS://…; - for standard output")
    args.add_argument("--model", default="sentiment-pl-en", help="NAME or NAME:VERSION of the store, ./FOLDER, address")
    args.add_argument("--text-column", default="text", help="column or key with the texts")
    args.add_argument("--pair-column", help="column with the second texts of pairs (default: text_pair)")
    args.add_argument("--top-k", type=_positive, help="columns for the best labels instead of one for each label")
    args.add_argument("--prefix", default="", help="put before the names of the answer's columns")
    args.add_argument("--from", dest="input_format", choices=FORMATS, help="format of the input (default: by its name)")
    args.add_argument("--to", dest="output_format", choices=FORMATS, help="format of the output (default: by its name)")
    args.add_argument("--encoding", type=_encoding, default="utf-8", help="of CSV and JSON Lines, such as windows-1250")
    args.add_argument("--separator", type=_separator, help="of CSV (default: found in the header)")
    args.add_argument("--price", type=float, help="price of a core for an hour, for the cost in the summary")
    args.add_argument("--report", type=Path, help="page to write: the texts beside those the model was measured on")
    args.add_argument("--quiet", action="store_true", help="print errors only")
    args.add_argument("--ray", action="store_true", help="score by Ray Data, on this machine or --ray-address")
    args.add_argument("--ray-address", help="address of a Ray cluster, such as auto or ray://head:10001")
    return args.parse_args(arguments)


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    options = parse(arguments)
    from textserve.memory import return_freed

    # Before any thread starts; otherwise the freed memory that is kept grows with the number of windows.
    return_freed()
    import pyarrow as pa

    from bulk import report
    from bulk.answers import Answering
    from bulk.reading import Reading
    from bulk.run import Job, run

    # Arrow's own allocator kept 50 MB of free memory beside 5 MB in use.
    pa.set_memory_pool(pa.system_memory_pool())
    job = Job(
        input=options.input,
        output=options.output,
        model=options.model,
        reading=Reading(options.text_column, options.pair_column, options.encoding, options.separator),
        answering=Answering(options.top_k, options.prefix),
        input_format=options.input_format,
        output_format=options.output_format,
        quiet=options.quiet,
    )
    if options.report:
        report.check(options.report, options.model)
    try:
        if options.ray or options.ray_address:
            from bulk.cluster import run_on_ray

            summary = run_on_ray(job, options.ray_address)
        else:
            summary = run(job)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    if not options.quiet:
        print("\n".join(summary.lines(options.price)), file=sys.stderr)
    if options.report:
        report.write(options.report, options.input, summary)
    return 3 if summary.bad else 0


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _encoding(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise argparse.ArgumentTypeError(f"{name!r} is not an encoding that Python knows") from None
    return name


def _separator(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1:
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return found


if __name__ == "__main__":
    sys.exit(main())
