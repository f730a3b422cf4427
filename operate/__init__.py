"""Library that judges, compares and moves traffic while the service runs; it imports nothing else of the project."""
