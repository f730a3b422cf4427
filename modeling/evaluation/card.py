"""The tables in a model's card, rendered from ``report.json`` into the marked blocks of ``README.md``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from modeling.errors import ModelingError
from modeling.evaluation.names import TITLES
from modeling.files import replacing
from modeling.rows import read_text

Report = dict[str, Any]


def quality(report: Report) -> str:
    """Quality by language and domain with 95 % intervals, and VADER's macro-F1 where it was measured."""
    measured: dict[str, Report] = {}
    for language in report["quality"]["languages"].values():
        measured |= language.get("domains", {})
        measured[f"**{language['name']}**"] = language
    if not measured:
        return "Not measured: there are no labelled texts."
    keys = [key for key in TITLES if all(key in row for row in measured.values())]
    lexicon = any("vader_macro_f1" in row for row in measured.values())
    head = ["", "texts", *(TITLES[key] for key in keys), *(["VADER's macro-F1"] if lexicon else [])]
    return table(head, [[name, *_quality_row(row, keys, lexicon)] for name, row in measured.items()])


def _quality_row(measured: Report, keys: Sequence[str], lexicon: bool) -> list[str]:
    scores = [
        f"{measured[key]:.3f} ({' to '.join(f'{end:.3f}' for end in measured[f'{key}_interval'])})" for key in keys
    ]
    vader = f"{measured['vader_macro_f1']:.3f}" if "vader_macro_f1" in measured else "–"
    return [str(measured["texts"]), *scores, *([vader] if lexicon else [])]


def behaviour(report: Report) -> str:
    """Failures of the behavioural tests, with a column for each language."""
    section = report["behaviour"]
    if not section["tests"]:
        return "No behavioural tests."
    languages = list(section["failure_rates"])
    tests = {(test["test"], test["kind"], test["language"]): test for test in section["tests"]}
    rows = [
        [name, kind, *(_failures(tests.get((name, kind, language))) for language in languages)]
        for name, kind in dict.fromkeys((name, kind) for name, kind, _ in tests)
    ]
    return table(["test", "kind", *languages], rows)


def _failures(test: Report | None) -> str:
    return f"{test['failures']} of {test['cases']} ({test['failures'] / test['cases']:.0%})" if test else "–"


def calibration(report: Report) -> str:
    """Expected calibration error of each language, in a sentence."""
    found = [language for language in report["quality"]["languages"].values() if "ece" in language]
    if not found:
        return "Not measured: only the score of one label has a calibration error, on labelled texts."
    each = ", ".join(f"{one['ece']:.3f} on {one['texts']} texts ({one['name']})" for one in found)
    return f"Expected calibration error, in 15 bins: {each}."


def fidelity(report: Report) -> str:
    """The comparison with PyTorch, and the processor it ran on."""
    found = report["verification"]
    speed, batches = found["texts_per_second"], found["batches"]
    rows = [["texts compared", str(found["texts"])]]
    if "agreement" in found:
        rows.append([f"same {answer_of(found)} as PyTorch", f"{found['agreement']:.2%}"])
    else:
        rows.append(["rank correlation with PyTorch", f"{found['rank_correlation']:.4f}"])
    rows += [
        [f"in {name}, {one['texts']} texts", f"{one['agreement']:.2%}"]
        for name, one in found.get("languages", {}).items()
        if "agreement" in one
    ]
    kind = "probability" if "agreement" in found else "number"
    rows += [
        [f"largest difference of a {kind}", f"{found['largest_difference']:.3f}"],
        ["mean difference", f"{found['mean_difference']:.4f}"],
    ]
    for key in TITLES:
        if f"torch_{key}" in found:
            title = TITLES[key] if "agreement" in found else f"{TITLES[key]} with the truth"
            rows.append([f"{title}, PyTorch → served", f"{found[f'torch_{key}']:.4f} → {found[f'served_{key}']:.4f}"])
    rows += [
        ["speed, one text on one core, against float32 ONNX", f"{found['speedup']:.2f} times"],
        ["texts a second, float32 → served", f"{speed['float32']:.0f} → {speed['served']:.0f}"],
        [
            f"{answer_of(found)}s changed in {batches['groupings']} random groupings into batches",
            str(batches["labels_changed"]),
        ],
        ["largest difference between alone and in a batch", f"{batches['largest_difference']:.1e}"],
    ]
    environment = f"Measured on one core of {found['cpu']} with ONNX Runtime {found['versions']['onnxruntime']}."
    notes = [f"Compared on {found['note']}."] if "note" in found else []
    return "\n\n".join([table(["", ""], rows), environment, *notes])


def answer_of(verification: Report) -> str:
    """The word for an answer of the compared model: ``label``, or ``answer`` for a set of labels or a number."""
    return "label" if verification["identity"]["problem_type"] == "single_label_classification" else "answer"


def quantization(report: Report) -> str:
    """The result of the quantizer, and the layers with the largest outlier channels."""
    export = report["export"]
    section = export.get("quantization")
    if not section:
        return "Not quantized: the float32 graph is served."
    linears = section["linears"]
    rows = [
        [
            linear["name"].removesuffix("/MatMul").strip("/").replace("bert/encoder/", ""),
            f"{linear['channels']} × {linear['outputs']}",
            str(linear["outliers"]),
            f"{linear['peak']:.1f}",
            f"{linear['peak_inside']:.1f}",
            f"{linear['relative_error']:.1%}",
        ]
        for linear in sorted(linears, key=lambda linear: -linear["peak"] / linear["peak_inside"])[:8]
    ]
    head = ["layer", "size", "channels in float", "largest input", "largest in INT8", "error of the output"]
    summary = (
        f"{len(linears)} linear layers and {len(section['tables'])} embedding tables in INT8, "
        f"{section['outlier_channels']} outlier channels in float, "
        f"{export['float_bytes'] / 1e6:.1f} MB → {export['bytes'] / 1e6:.1f} MB. "
        "The layers from whose input the split takes the most:"
    )
    notes = [f"Calibrated on {export['note']}."] if "note" in export else []
    return "\n\n".join([*notes, summary, table(head, rows)])


def training(report: Report) -> str:
    """The settings of each run, the texts it drew from, and the result."""
    section = report["training"]
    settings = [name for name in section["runs"][0] if name not in ("seed", "minutes")]
    head = ["", *(f"seed {run['seed']}" for run in section["runs"])]
    rows = [[name.replace("_", " "), *(_setting(run[name]) for run in section["runs"])] for name in settings]
    texts = ", ".join(f"{count} {name}" for name, count in section["texts"].items())
    final = section["final"]
    outcome = (
        f"Texts to draw from: {texts}. Bias on the logits {', '.join(f'{value:g}' for value in final['bias'])}, "
        f"temperature {final['temperature']:.2f}. Outcome: macro-F1 {section['validation_macro_f1']:.4f} on the "
        f"validation part in English and {section['polish_macro_f1']:.4f} in Polish, "
        f"{section['polish_dev_accuracy']:.3f} of the Polish sentences of `polish-dev.jsonl` right."
    )
    return f"{table(head, rows)}\n\n{outcome}"


def _setting(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


BLOCKS: dict[str, Callable[[Report], str]] = {
    "quality": quality,
    "behaviour": behaviour,
    "calibration": calibration,
    "fidelity": fidelity,
    "quantization": quantization,
    "training": training,
}


def render(content: str, report: Report) -> str:
    """``content`` with every marked block filled in; raises :class:`ModelingError` for an unknown block."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise ModelingError(f"the card has an unknown block {name!r}; known blocks: {', '.join(BLOCKS)}")
        return f"<!-- {name} -->\n\n{BLOCKS[name](report)}\n\n<!-- /{name} -->"

    return re.sub(r"<!-- (?P<name>[a-z]+) -->.*?<!-- /(?P=name) -->", block, content, flags=re.DOTALL)


def fill_in(file: Path, report: Report) -> None:
    """Fill in the blocks of the card ``file``, if it exists; raises :class:`ModelingError` if it is not UTF-8."""
    if file.exists():
        text = render(read_text(file), report)
        with replacing(file) as new:
            new.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
