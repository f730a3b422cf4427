"""From a source to a verified model in the model store: the library behind ``scripts/``."""
