"""Versions of a model in MLflow, and which of them is in use."""
