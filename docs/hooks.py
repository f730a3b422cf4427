"""MkDocs hooks: pages and images of the site that live outside docs/.

https://www.mkdocs.org/user-guide/configuration/#hooks. The model card stays with its model and CONTRIBUTING.md at the
root, where GitHub shows it; links to them are rewritten for the site.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
CARD = "models/sentiment-pl-en"
PLOTS = {
    "benchmarks/results/compare.png": "images/compare.png",
    "benchmarks/results/without-amx/compare.png": "images/compare-without-amx.png",
    "benchmarks/results/without-vnni/compare.png": "images/compare-without-vnni.png",
}
# Target of a link in docs/ → page or image of the site.
LINKS = {f"../{CARD}/README.md": "model-card.md", "../CONTRIBUTING.md": "contributing.md"}
LINKS |= {f"../{plot}": image for plot, image in PLOTS.items()}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the model card with its figures, the plots of the benchmark, CONTRIBUTING.md and the icon."""
    card = (ROOT / CARD / "README.md").read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "model-card.md", content=card.replace("](images/", "](images/model-card/")))
    files.append(File.generated(config, "contributing.md", content=contributing.replace("](docs/", "](")))
    for figure in sorted((ROOT / CARD / "images").iterdir()):
        files.append(File.generated(config, f"images/model-card/{figure.name}", abs_src_path=str(figure)))
    for plot, image in PLOTS.items():
        files.append(File.generated(config, image, abs_src_path=str(ROOT / plot)))
    files.append(File.generated(config, "images/icon.svg", abs_src_path=str(ROOT / "textserve" / "ui" / "icon.svg")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links to files outside docs/ into links to their pages and images."""
    for target, page in LINKS.items():
        markdown = markdown.replace(f"]({target})", f"]({page})")
    return markdown
