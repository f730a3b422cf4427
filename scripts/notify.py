"""Send a message to the webhook for alerts, in the format of Slack's incoming webhooks.

    NOTIFICATIONS_WEBHOOK=https://… python -m scripts.notify "ci-cd failed on main: https://…"

The address is a secret, so it comes from the environment. Without an address, the script says so and does nothing: a
pipeline can do without a webhook.

Exit codes: 0 sent, or there is no webhook, 1 the webhook did not accept the message.
"""

from __future__ import annotations

import os
import sys

from release.notifications import notify
from scripts.command import command, parser

VARIABLE = "NOTIFICATIONS_WEBHOOK"


@command
def main(arguments: list[str] | None = None) -> None:
    """Run the script and return its exit code."""
    args = parser(__doc__)
    args.add_argument("message")
    message = args.parse_args(arguments).message
    if webhook := os.environ.get(VARIABLE):
        notify(webhook, message)
    else:
        print(f"{VARIABLE} is not set: nobody is notified")


if __name__ == "__main__":
    sys.exit(main())
