"""A new model: writes its ``model.yaml`` from its checkpoint."""
