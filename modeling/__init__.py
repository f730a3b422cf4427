"""From a source to a verified model in the store: a library, called by ``scripts/``."""
