"""Shared by all scripts: ``--help`` from the docstring, errors as one message and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from modeling.errors import ModelingError
from release.errors import ReleaseError
from textserve.bento.store import StoreError
from textserve.classifier import ModelFilesError
from textserve.spec import SpecError

# Errors that the user can fix; any other keeps its traceback.
EXPECTED = (ModelingError, ReleaseError, StoreError, SpecError, ModelFilesError)


def parser(manual: str | None) -> argparse.ArgumentParser:
    """An argument parser whose ``--help`` prints the script's docstring as written."""
    return argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)


def model_parser(manual: str | None, texts: str | None = None) -> argparse.ArgumentParser:
    """A parser with the argument ``model`` and, with the help of ``--texts``, the options of exports and checks."""
    arguments = parser(manual)
    arguments.add_argument("model", help="name of a folder in models/")
    if texts:
        arguments.add_argument(
            "--checkpoint", type=Path, help="folder of the checkpoint (default: build/NAME/checkpoint)"
        )
        arguments.add_argument("--texts", type=Path, help=texts)
    return arguments


def run(
    arguments: argparse.ArgumentParser, call: Callable[[argparse.Namespace], int | None], given: Sequence[str] | None
) -> int:
    """Parse ``given`` (default: the command line), call ``call`` with the result, and return the exit code.

    The exit code is what ``call`` returns, 0 for ``None``, or 1 after printing the message of an expected error.
    """
    options = arguments.parse_args(given)
    try:
        return call(options) or 0
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        # Such as a full disk, or a folder without permission.
        if error.filename is None:
            raise
        print(f"{error.filename2 or error.filename}: {error.strerror}", file=sys.stderr)
        return 1
