"""The report as one HTML file: pictures inside it, nothing fetched from anywhere, light or dark as the reader's device.

What it looks like is in ``report.html.jinja`` next to this module; here is what goes into it.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl

from modeling.evaluation import plots
from modeling.evaluation.behaviour import KINDS
from modeling.evaluation.gates import Gate
from modeling.spec import ModelSpec

TEMPLATE = "report.html.jinja"
LANGUAGES = {"en": "English", "pl": "Polish"}
TITLES = {"confusion": "Rated and answered", "reliability": "Calibration"}


def render(report: dict[str, Any], spec: ModelSpec, gates: Sequence[Gate]) -> str:
    """The page.

    Args:
        report: with the sections of evaluate.py; those of the other scripts are shown if they are there.
        spec: of the model.
        gates: as :func:`modeling.evaluation.gates.check` returns them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        KINDS=KINDS,
        LANGUAGES=LANGUAGES,
        spec=spec,
        gates=gates,
        failed=[gate for gate in gates if not gate.holds],
        quality=_quality_rows(report),
        pictures=_pictures(report),
        **{name: report.get(name) for name in ("behaviour", "performance", "verification", "evaluation")},
    )


def _quality_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for language in report["quality"]["languages"].values():
        rows |= language.get("domains", {})
        rows[language["name"]] = language
    return rows


def _pictures(report: dict[str, Any]) -> list[dict[str, str]]:
    """Name, title and data URIs of each picture, drawn once for light pages and once for dark ones."""
    mpl.use("agg")
    drawn = plots.of_report(report)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.svg"
        pictures = []
        for name, draw in drawn.items():
            one = {"name": name, "title": TITLES[name]}
            for theme, settings in plots.THEMES.items():
                with mpl.rc_context(settings):
                    draw(file)
                one[theme] = f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
            pictures.append(one)
    return pictures
