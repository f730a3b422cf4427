"""Notifications of alerts and failed pipelines: writes Alertmanager's configuration, sends messages to a webhook."""

from __future__ import annotations

import http.client
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from release.errors import ReleaseError
from textserve import validation

SECONDS = 30
TITLE = "{{ .Status | toUpper }}: {{ .CommonLabels.alertname }}"
TEXT = "{{ range .Alerts }}{{ .Annotations.summary }} ({{ .Annotations.runbook }})\n{{ end }}"


class Section(BaseModel):
    """A part of the file; unknown keys are errors, and errors do not show values, which may be secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Email(Section):
    """How to send e-mails: over SMTP with STARTTLS, unless ``tls`` is false."""

    to: list[str] = Field(min_length=1)
    sender: str = Field(alias="from")
    smarthost: str = Field(pattern=r"^\S+:\d+$", description="HOST:PORT")
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = True


class Notifications(Section):
    """Who is notified. ``webhook`` must accept messages for Slack's incoming webhooks; both keys are optional."""

    webhook: SecretStr | None = None
    email: Email | None = None

    @classmethod
    def load(cls, file: Path) -> Notifications:
        """Read the file; raises :class:`ReleaseError` that names the wrong key, without its value."""
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            found = cls.model_validate(content)
        except (OSError, UnicodeDecodeError) as error:
            raise ReleaseError(f"{file}: cannot be read: {error}") from None
        except yaml.YAMLError:
            # The message of the YAML error quotes the line, which may contain a password.
            raise ReleaseError(f"{file}: is not YAML") from None
        except ValidationError as error:
            problems = "\n".join(f"{file}: {problem}" for problem in validation.problems(error, {}))
            raise ReleaseError(problems) from None
        if found.webhook:
            check_address(found.webhook.get_secret_value(), f"{file}: webhook")
        return found


def check_address(address: str, where: str) -> None:
    """Raise a :class:`ReleaseError`, which does not quote ``address``, unless it is an HTTP or HTTPS address."""
    if not re.fullmatch(r"https?://[^\x00-\x20\x7f]+", address):
        raise ReleaseError(f"{where}: is not an address that begins with https:// and has no spaces")


def alertmanager(notifications: Notifications) -> dict[str, Any]:
    """Alertmanager's configuration: one message for each alert, repeated while it lasts."""
    receiver: dict[str, Any] = {"name": "everybody"}
    if notifications.webhook:
        receiver["slack_configs"] = [
            {
                "api_url": notifications.webhook.get_secret_value(),
                "send_resolved": True,
                "title": TITLE,
                "text": TEXT,
            }
        ]
    if email := notifications.email:
        common = {
            "from": email.sender,
            "smarthost": email.smarthost,
            "require_tls": email.tls,
            "send_resolved": True,
            "headers": {"Subject": TITLE},
            "text": TEXT,
        }
        if email.username:
            common |= {"auth_username": email.username, "auth_password": email.password.get_secret_value()}
        receiver["email_configs"] = [{"to": address, **common} for address in email.to]
    return {
        "route": {
            "receiver": "everybody",
            "group_by": ["alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": [{"matchers": ['severity="ticket"'], "receiver": "everybody", "repeat_interval": "3d"}],
        },
        "receivers": [receiver],
    }


def write(notifications: Notifications, target: Path) -> None:
    """Write Alertmanager's configuration; only the owner can read it, because it contains the secrets."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    target.chmod(0o600)
    target.write_text(yaml.safe_dump(alertmanager(notifications), sort_keys=False), encoding="utf-8")


def notify(webhook: str, text: str) -> None:
    """Send ``text`` to a webhook in Slack's format; raises :class:`ReleaseError`, without the address, if it fails."""
    # A secret is often pasted with a line break at its end.
    webhook = webhook.strip()
    check_address(webhook, "the webhook")
    body = json.dumps({"text": text}).encode()
    try:
        request = urllib.request.Request(webhook, body, {"content-type": "application/json"})  # noqa: S310  # as checked
        with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310  # as above
            pass
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None)
        reason = getattr(error, "code", None) or type(cause if isinstance(cause, Exception) else error).__name__
        raise ReleaseError(f"the webhook did not take the message: {reason}") from None
