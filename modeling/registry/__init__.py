"""Versions of a model in the MLflow registry, and the champion among them."""
