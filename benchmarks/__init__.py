"""Benchmarks of the service and of other servers: `make benchmark`. Not part of the Bento."""
