"""One module per promise of the service other than speed; benchmarks/promises.py runs them."""
