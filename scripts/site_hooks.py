"""Lets MkDocs take in what the site shows from outside of docs/: the default model's card, its pictures, and the icon.

MkDocs calls these functions by their names (https://www.mkdocs.org/user-guide/configuration/#hooks); mkdocs.yaml names
this file. The card stays where the model is, so there is one of it, and pages link to it there.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = Path("models") / "sentiment-pl-en"
PAGE = "model-card.md"
ICON = Path("textserve") / "page" / "icon.svg"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the card as a page, its pictures, and the icon."""
    root = Path(config.config_file_path).parent
    card = (root / FOLDER / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, PAGE, content=card.replace("](images/", "](images/model-card/")))
    for picture in sorted((root / FOLDER / "images").iterdir()):
        files.append(File.generated(config, f"images/model-card/{picture.name}", abs_src_path=str(picture)))
    files.append(File.generated(config, "images/icon.svg", abs_src_path=str(root / ICON)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links to the card in its folder into links to its page."""
    here = posixpath.dirname(page.file.src_uri)
    outside = posixpath.relpath((FOLDER / "README.md").as_posix(), posixpath.join("docs", here))
    return markdown.replace(f"]({outside})", f"]({posixpath.relpath(PAGE, here or '.')})")
