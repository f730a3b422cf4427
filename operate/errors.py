"""The error of this library that a user can fix."""


class OperateError(Exception):
    """A step failed for a reason that the user can fix. The message says what, where and what to do."""
