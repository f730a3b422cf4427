"""The project's commands, one per file: each runs as ``python -m scripts.VERB`` and has ``--help``."""
