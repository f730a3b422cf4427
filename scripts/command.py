"""Shared by all scripts: ``--help`` from the docstring, errors as one message and an exit code."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from bulk.errors import BulkError
from modeling.errors import ModelingError
from modeling.files import ModelFiles
from modeling.texts import read_texts
from operate.errors import OperateError
from release.errors import ReleaseError
from textserve.bento.store import StoreError
from textserve.classifier import ModelFilesError
from textserve.environment import unset_empty
from textserve.spec import SpecError

# Errors that the user can fix; any other error is shown with its traceback.
EXPECTED = (BulkError, ModelingError, OperateError, ReleaseError, StoreError, SpecError, ModelFilesError)

# Prefixes of the variables that the scripts and their libraries read.
PREFIXES = ("BENTOML_", "HF_", "MLFLOW_", "TEXTSERVE_")
# Turns off the progress bars of libraries in a log. The libraries read this when a script imports them in main().
NO_BARS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# The file with the outputs of a step of a GitHub workflow.
OUTPUT_VARIABLE = "GITHUB_OUTPUT"
P = ParamSpec("P")


def parser(manual: str | None) -> argparse.ArgumentParser:
    """An argument parser whose ``--help`` prints the script's docstring as written."""
    return argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)


def model_parser(manual: str | None, texts: str | None = None) -> argparse.ArgumentParser:
    """A parser with the argument ``files``, a model's name; with ``texts``, a help, also --texts and --checkpoint."""
    args = parser(manual)
    args.add_argument("files", metavar="model", type=ModelFiles.of, help="name of a folder in models/")
    if texts:
        args.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (default: build/NAME/checkpoint)")
        args.add_argument("--texts", type=lambda name: read_texts(Path(name), "--texts "), help=texts)
    return args


def append_to(variable: str, text: str) -> None:
    """Append ``text`` to the file that the environment variable names in a GitHub workflow; elsewhere do nothing."""
    if target := os.environ.get(variable):
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(text)


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Make ``main`` return an exit code: its own, 0 for None, or 1 after printing the message of an expected error."""

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        unset_empty(*PREFIXES)
        if not sys.stderr.isatty():
            os.environ.update(NO_BARS)
        try:
            return main(*args, **kwargs) or 0
        except EXPECTED as error:
            print(error, file=sys.stderr)
            return 1
        except ModuleNotFoundError as error:
            # Scripts import packages that only the export environment has after parsing their arguments.
            verb = "score RAY=1" if error.name == "ray" else Path(sys.argv[0]).stem
            print(f"{error.name} is not installed here; run make {verb}", file=sys.stderr)
            return 1
        except OSError as error:
            # For example a folder without permission, or a full disk, for which the error may not name the file.
            if error.strerror is None:
                raise
            name = error.filename2 or error.filename
            print(error.strerror if name is None else f"{name}: {error.strerror}", file=sys.stderr)
            return 1

    return run
