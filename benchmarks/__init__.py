"""Benchmarks of the service and of other servers (`make benchmark`); not part of the Bento."""
