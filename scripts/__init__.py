"""From a checkpoint to the model store: one verb a file, each runs as ``python -m scripts.VERB`` and has ``--help``."""
