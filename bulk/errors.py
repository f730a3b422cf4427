"""The error that stops a run. No message quotes a text."""

from __future__ import annotations


class BulkError(Exception):
    """A run that cannot start or go on: the message says what, where, and what to do."""
