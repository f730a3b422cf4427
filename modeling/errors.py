"""The expected error of the library."""


class ModelingError(Exception):
    """A failure that the user can fix. The message names the file or service, the problem and the fix."""
