"""Write the table of docs/settings.md from textserve/settings.py, which is where settings are described.

    python -m scripts.settings_page

What stands outside of the table is left as it is.

Exit codes: 0 done, 1 the page or the marks around its table are not there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import SecretStr

from modeling.files import ROOT
from release.errors import ReleaseError
from scripts.command import parser
from textserve.settings import PREFIX, Settings

PAGE = Path("docs") / "settings.md"
START, END = "<!-- settings -->", "<!-- /settings -->"
KINDS = {"int": "whole number", "float": "number", "str": "text", "SecretStr": "text", "Path | None": "path"}


def table() -> str:
    """Every setting with its kind, its bounds and its default, a row each, in Markdown.

    Raises:
        ReleaseError: if a setting is of a kind that has no name here.
    """
    rows = ["| variable | kind | default | |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        annotation = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        annotation = annotation.replace("pathlib.", "")
        if annotation not in KINDS:
            raise ReleaseError(
                f"{PREFIX}{name.upper()}: say in scripts/settings_page.py what {annotation} is to a reader"
            )
        bounds = [
            f"{word} {getattr(bound, attribute)}"
            for bound in field.metadata
            for attribute, word in (("gt", "above"), ("ge", "from"), ("le", "to"))
            if getattr(bound, attribute, None) is not None
        ]
        kind = ", ".join([KINDS[annotation], *bounds])
        default = _default(field.default, computed=field.default_factory)
        rows.append(f"| `{PREFIX}{name.upper()}` | {kind} | {default} | {field.description} |")
    return "\n".join(rows)


def _default(value: object, *, computed: object) -> str:
    if computed:
        return "of this machine"
    if value is None or value == SecretStr(""):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def fill_in(page: str) -> str:
    """``page`` with the table between its marks.

    Raises:
        ReleaseError: if the marks are not there.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ReleaseError(f"{PAGE} needs the lines {START} and {END}, between which the table is written")
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser(__doc__).parse_args(arguments)
    file = ROOT / PAGE
    try:
        file.write_text(fill_in(file.read_text(encoding="utf-8")), encoding="utf-8")
    except FileNotFoundError:
        print(f"{PAGE} is not there", file=sys.stderr)
        return 1
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
