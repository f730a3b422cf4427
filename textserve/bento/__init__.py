"""Everything that depends on the internals of BentoML and uvicorn, and what only the container image runs."""
