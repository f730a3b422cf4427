"""One module per promise of the service other than speed; benchmarks/promises.py runs them."""

from typing import Any

# Name, figures and verdicts (limit: whether it is met) of each measurement.
Findings = list[tuple[str, dict[str, Any], dict[str, bool]]]
