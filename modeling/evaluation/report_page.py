"""The report as one HTML file with its plots inside, light or dark like the reader's device; see report.html.jinja."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl

from modeling.evaluation import plots
from modeling.evaluation.behaviour import KINDS
from modeling.evaluation.gates import Gate
from modeling.evaluation.names import LOSS, MAIN, TITLES
from modeling.spec import ModelSpec

TEMPLATE = "report.html.jinja"
LANGUAGES = {"en": "English", "pl": "Polish"}
PLOT_TITLES = {"confusion": "Rated and answered", "scatter": "Rated and answered", "reliability": "Calibration"}


def render(report: dict[str, Any], spec: ModelSpec, gates: Sequence[Gate]) -> str:
    """The HTML of the report page, from the sections of evaluate.py and, if present, of verify.py."""
    rows, main = _quality_rows(report), MAIN[spec.problem_type]
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
        TITLES=TITLES,
        main=main,
        loss=LOSS[spec.problem_type],
        others=[key for key in TITLES if key != main and all(key in row for row in rows.values())],
        lexicon=any("vader_macro_f1" in row for row in rows.values()),
        answer="label" if spec.problem_type == "single_label_classification" else "answer",
        quality=rows,
        plots=_plots(report, spec),
        **{name: report.get(name) for name in ("behaviour", "performance", "verification", "evaluation", "export")},
    )


def _quality_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for language in report["quality"]["languages"].values():
        rows |= language.get("domains", {})
        rows[language["name"]] = language
    return rows


def _plots(report: dict[str, Any], spec: ModelSpec) -> list[dict[str, str]]:
    """Name, title, and data URIs for light and for dark pages, of each plot."""
    found = []
    for name, draw in plots.of_report(report, spec).items():
        plot = {"name": name, "title": PLOT_TITLES[name]}
        for theme, settings in plots.THEMES.items():
            content = io.BytesIO()
            with mpl.rc_context(settings):
                draw().savefig(content, format="svg")
            plot[theme] = f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"
        found.append(plot)
    return found
