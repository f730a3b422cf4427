"""Write deploy/kubernetes/monitoring/rules.yaml: the alerts of deploy/alerts.yaml for the Prometheus Operator.

    python -m scripts.kubernetes_rules

Kustomize can include a file as a string, but not as a part of a resource, so the resource is a copy.
"""

from __future__ import annotations

import sys

from modeling.files import ROOT
from scripts.command import command, parser

ALERTS = ROOT / "deploy" / "alerts.yaml"
RULES = ROOT / "deploy" / "kubernetes" / "monitoring" / "rules.yaml"
HEAD = """\
# A copy of deploy/alerts.yaml: change that, and run make docs-tables.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: textserve
spec:
"""


def prometheus_rule() -> str:
    """The resource ``PrometheusRule`` with the groups of ``deploy/alerts.yaml``."""
    groups = ALERTS.read_text(encoding="utf-8").partition("groups:\n")[2].splitlines()
    return HEAD + "\n".join(["  groups:", *(f"  {line}" if line else "" for line in groups)]) + "\n"


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    parser(__doc__).parse_args(arguments)
    RULES.write_text(prometheus_rule(), encoding="utf-8")
    print(RULES.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
