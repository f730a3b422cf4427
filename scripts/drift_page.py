"""Make a page with the distributions of the statistics that scripts/drift.py wrote, side by side, with evidently.

    python -m scripts.drift_page build/sentiment-pl-en/drift

`make drift` runs this script in an environment of its own. It imports nothing of this project.

Writes FOLDER/drift.html, one self-contained file. Exit codes: 0 written, or there is no reference.csv to compare
with, 1 a file is missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Write the page and return the exit code."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("folder", type=Path, metavar="FOLDER", help="with served.csv and reference.csv")
    folder: Path = args.parse_args(arguments).folder
    page = folder / "drift.html"
    if (folder / "served.csv").exists() and not (folder / "reference.csv").exists():
        page.unlink(missing_ok=True)
        print("no page: the texts of reference.json are not those of the model's task, nor its labelled texts")
        return 0
    import pandas
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    try:
        tables = [pandas.read_csv(folder / f"{name}.csv") for name in ("served", "reference")]
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; run python -m scripts.drift first", file=sys.stderr)
        return 1
    numbers = [name for name in tables[0].columns if name != "label"]
    labels = [name for name in tables[0].columns if name == "label"]
    definition = DataDefinition(categorical_columns=labels, numerical_columns=numbers)
    served, reference = (Dataset.from_pandas(table, data_definition=definition) for table in tables)
    # The method of the service's gauge, but with bins that evidently chooses.
    Report([DataDriftPreset(method="psi", threshold=0.2)]).run(served, reference).save_html(str(page))
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
