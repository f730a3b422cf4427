"""The library's one error that a person can fix."""


class ModelingError(Exception):
    """A step cannot go on for a reason that the user can fix. The message says what, where and what to do."""
