"""How good, fast and faithful a model is, and whether its gates pass."""
