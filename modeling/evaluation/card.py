"""The figures in a model's card: rendered from ``report.json`` into the marked blocks of ``README.md``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modeling.errors import ModelingError

Report = dict[str, Any]


def quality(report: Report) -> str:
    """Quality by language and domain with 95 % intervals, beside VADER's lexicon where it was measured."""
    rows = []
    for language in report["quality"]["languages"].values():
        rows += [_quality_row(domain, one) for domain, one in language.get("domains", {}).items()]
        rows.append(_quality_row(f"**{language['name']}**", language))
    return _table(["", "texts", "accuracy", "macro-F1", "VADER's macro-F1"], rows)


def _quality_row(name: str, one: Report) -> list[str]:
    lexicon = f"{one['vader_macro_f1']:.3f}" if "vader_macro_f1" in one else "–"
    measured = [f"{one[key]:.3f} ({_interval(one[f'{key}_interval'])})" for key in ("accuracy", "macro_f1")]
    return [name, str(one["texts"]), *measured, lexicon]


def behaviour(report: Report) -> str:
    """Failures of the behavioural tests, a column for each language."""
    section = report["behaviour"]
    languages = list(section["failure_rates"])
    found = {(one["test"], one["kind"], one["language"]): one for one in section["tests"]}
    rows = []
    for name, kind in dict.fromkeys((name, kind) for name, kind, _ in found):
        cells = [found.get((name, kind, language)) for language in languages]
        rows.append([name, kind, *(_failures(one) for one in cells)])
    return _table(["test", "kind", *languages], rows)


def _failures(one: Report | None) -> str:
    return f"{one['failures']} of {one['cases']} ({one['failures'] / one['cases']:.0%})" if one else "–"


def calibration(report: Report) -> str:
    """Expected calibration error, in a sentence."""
    one = report["quality"]["calibration"]
    return f"Expected calibration error on {one['texts']} texts ({one['name']}): {one['ece']:.3f} (15 bins)."


def fidelity(report: Report) -> str:
    """The comparison with PyTorch, and what it ran on."""
    one = report["verification"]
    rows = [
        ["texts compared", str(one["texts"])],
        ["same label as PyTorch", f"{one['agreement']:.2%}"],
        ["largest difference of a probability", f"{one['largest_difference']:.3f}"],
        ["mean difference", f"{one['mean_difference']:.4f}"],
        ["macro-F1, PyTorch → served", f"{one['torch_macro_f1']:.4f} → {one['served_macro_f1']:.4f}"],
        ["speed, one text on one core, against float32 ONNX", f"{one['speedup']:.2f} times"],
        [
            "texts a second, float32 → served",
            f"{one['texts_per_second']['float32']:.0f} → {one['texts_per_second']['served']:.0f}",
        ],
        [
            f"labels changed in {one['batches']['groupings']} random groupings into batches",
            str(one["batches"]["labels_changed"]),
        ],
        ["largest difference between alone and in a batch", f"{one['batches']['largest_difference']:.1e}"],
    ]
    measured = f"Measured on one core of {one['cpu']} with ONNX Runtime {one['versions']['onnxruntime']}."
    return f"{_table(['', ''], rows)}\n\n{measured}"


def quantization(report: Report) -> str:
    """What the quantizer did to the graph, and the layers that it had the most to do with."""
    export = report["export"]
    section = export["quantization"]
    linears = section["linears"]
    worst = sorted(linears, key=lambda one: -one["peak"] / one["peak_inside"])[:8]
    rows = [
        [
            one["name"].removesuffix("/MatMul").strip("/").replace("bert/encoder/", ""),
            f"{one['channels']} × {one['outputs']}",
            str(one["outliers"]),
            f"{one['peak']:.1f}",
            f"{one['peak_inside']:.1f}",
            f"{one['relative_error']:.1%}",
        ]
        for one in worst
    ]
    head = ["layer", "size", "channels in float", "largest input", "largest in INT8", "error of the output"]
    summary = (
        f"{len(linears)} linear layers and {len(section['tables'])} embedding tables in INT8, "
        f"{section['outlier_channels']} outlier channels in float, "
        f"{export['float_bytes'] / 1e6:.1f} MB → {export['bytes'] / 1e6:.1f} MB. "
        "The layers from whose input the split takes the most:"
    )
    return f"{summary}\n\n{_table(head, rows)}"


def training(report: Report) -> str:
    """The settings of each run, and the outcome."""
    one = report["training"]
    settings = [name for name in one["runs"][0] if name not in ("seed", "minutes")]
    head = ["", *(f"seed {run['seed']}" for run in one["runs"]), "from their mean"]
    columns = [*one["runs"], one["final"]]
    rows = [[name.replace("_", " "), *(f"{column[name]:g}" for column in columns)] for name in settings]
    outcome = (
        f"{one['texts']} English training texts. Outcome: macro-F1 {one['validation_macro_f1']:.4f} on the validation "
        f"part, {one['polish_dev_accuracy']:.3f} of the Polish sentences right."
    )
    return f"{_table(head, rows)}\n\n{outcome}"


BLOCKS: dict[str, Callable[[Report], str]] = {
    "quality": quality,
    "behaviour": behaviour,
    "calibration": calibration,
    "fidelity": fidelity,
    "quantization": quantization,
    "training": training,
}


def render(content: str, report: Report) -> str:
    """``content`` with every marked block filled in from ``report``.

    Raises:
        ModelingError: if the card has a block that this module does not know.
    """

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise ModelingError(f"the card has a block {name!r}; known are {', '.join(BLOCKS)}")
        return f"<!-- {name} -->\n\n{BLOCKS[name](report)}\n\n<!-- /{name} -->"

    return re.sub(r"<!-- (?P<name>[a-z]+) -->.*?<!-- /(?P=name) -->", block, content, flags=re.DOTALL)


def fill_in(file: Path, report: Report) -> None:
    """Fill in the blocks of the card ``file``; a model without a card is left without one."""
    if file.exists():
        file.write_text(render(file.read_text(encoding="utf-8"), report), encoding="utf-8")


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
