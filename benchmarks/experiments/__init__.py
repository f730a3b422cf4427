"""What the service promises beside speed, measured one promise a module; benchmarks/promises.py runs them."""
