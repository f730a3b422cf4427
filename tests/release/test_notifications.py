from __future__ import annotations

import contextlib
import itertools
import json
import queue
import socket
import socketserver
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from release.errors import ReleaseError
from release.notifications import Notifications, alertmanager, notify, write
from scripts import notifications as notifications_script
from scripts import notify as script
from tests.server import LIMIT_SECONDS, ROOT, free_port

SECRET = "the-secret-part-of-the-address"  # noqa: S105  # of a webhook that does not exist
ALERT = {
    "labels": {"alertname": "TextserveNotReady", "instance": "a", "severity": "page"},
    "annotations": {"summary": "a is not ready", "runbook": "docs/runbooks.md#textservenotready"},
}


class Receivers:
    """A webhook and a mail server, and what they have received."""

    def __init__(self, webhook: str, smarthost: str, posts: queue.Queue[Any], mails: queue.Queue[str]) -> None:
        self.webhook, self.smarthost, self.posts, self.mails = webhook, smarthost, posts, mails


class Mail(socketserver.StreamRequestHandler):
    """Enough of SMTP to take a mail."""

    mails: queue.Queue[str]

    def handle(self) -> None:
        self.wfile.write(b"220 local\r\n")
        while line := self.rfile.readline().strip():
            if line.upper() == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                mail = b"".join(itertools.takewhile(lambda part: part != b".\r\n", self.rfile))
                self.mails.put(mail.decode())
                self.wfile.write(b"250 taken\r\n")
            elif line.upper() == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 local\r\n")


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    posts: queue.Queue[Any] = queue.Queue()
    mails: queue.Queue[str] = queue.Queue()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posts.put(json.loads(body))
            self.send_response(404 if self.path == "/gone" else 200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Keep the output of the tests short."""

    class Mails(Mail):
        pass

    Mails.mails = mails
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Webhook))
        mail = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mails))
        for server in (web, mail):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield Receivers(
            f"http://127.0.0.1:{web.server_address[1]}/{SECRET}", f"127.0.0.1:{mail.server_address[1]}", posts, mails
        )


@contextlib.contextmanager
def running(configuration: Path, folder: Path) -> Iterator[str]:
    """The address of a real Alertmanager, until the block ends."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        "prometheus-alertmanager",
        f"--config.file={configuration}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            assert process.poll() is None, (folder / "alertmanager.log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "Alertmanager did not start"
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/-/ready", timeout=10).status_code == 200:
                    break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def settings(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "notifications.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_an_alert_reaches_the_webhook_and_the_mailbox_and_so_does_its_end(tmp_path: Path, receivers: Receivers) -> None:
    email = {"to": ["oncall@example.com"], "from": "textserve@example.com", "smarthost": receivers.smarthost}
    file = settings(tmp_path, {"webhook": receivers.webhook, "email": email | {"tls": False}})
    target = tmp_path / "build" / "alertmanager.yaml"
    assert notifications_script.main([str(file), str(target)]) == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    quick = target.read_text(encoding="utf-8").replace("group_wait: 30s", "group_wait: 0s")
    assert "group_interval: 5m" in quick
    target.write_text(quick.replace("group_interval: 5m", "group_interval: 1s"), encoding="utf-8")
    with running(target, tmp_path) as url:
        assert httpx.post(f"{url}/api/v2/alerts", json=[ALERT], timeout=60).status_code == 200
        (attachment,) = receivers.posts.get(timeout=LIMIT_SECONDS)["attachments"]
        assert attachment["title"] == "FIRING: TextserveNotReady"
        assert attachment["text"] == "a is not ready (docs/runbooks.md#textservenotready)\n"
        mail = receivers.mails.get(timeout=LIMIT_SECONDS)
        assert "Subject: FIRING: TextserveNotReady" in mail
        assert "a is not ready" in mail
        ended = ALERT | {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:01:00Z"}
        assert httpx.post(f"{url}/api/v2/alerts", json=[ended], timeout=60).status_code == 200
        (attachment,) = receivers.posts.get(timeout=LIMIT_SECONDS)["attachments"]
        assert attachment["title"] == "RESOLVED: TextserveNotReady"
        assert "Subject: RESOLVED: TextserveNotReady" in receivers.mails.get(timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("name", ["notifications.yaml", "alertmanager.yaml"])
def test_alertmanager_accepts_the_files_of_deploy_as_they_are(tmp_path: Path, name: str) -> None:
    file = ROOT / "deploy" / name
    if name == "notifications.yaml":
        write(Notifications.load(file), tmp_path / "alertmanager.yaml")
        file = tmp_path / "alertmanager.yaml"
    done = subprocess.run(["amtool", "check-config", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_the_comments_of_the_settings_file_show_is_accepted(tmp_path: Path) -> None:
    lines = (ROOT / "deploy" / "notifications.yaml").read_text(encoding="utf-8").splitlines()
    example = [line.removeprefix("# ") for line in lines if line.startswith(("# webhook:", "# email:", "#   "))]
    content = "\n".join(line for line in example if "make notifications" not in line)
    found = Notifications.load(settings(tmp_path, yaml.safe_load(content)))
    (receiver,) = alertmanager(found)["receivers"]
    assert set(receiver) == {"name", "slack_configs", "email_configs"}
    assert receiver["email_configs"][0]["auth_username"] == "textserve"
    write(found, tmp_path / "alertmanager.yaml")
    command = ["amtool", "check-config", str(tmp_path / "alertmanager.yaml")]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"webhok": f"https://{SECRET}"}, "webhok: Extra inputs are not permitted"),
        ({"webhook": SECRET}, "webhook: is not an address"),
        ({"webhook": f"https://localhost/{SECRET} "}, "webhook: is not an address"),
        ({"email": {"to": [], "from": "a@b", "smarthost": "mail:25"}}, "email.to"),
        ({"email": {"to": ["a@b"], "from": "a@b", "smarthost": "mail", "password": SECRET}}, "email.smarthost"),
    ],
)
def test_a_wrong_key_is_named_and_no_secret_is_shown(tmp_path: Path, content: object, problem: str) -> None:
    with pytest.raises(ReleaseError) as raised:
        Notifications.load(settings(tmp_path, content))
    assert problem in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_mail_that_breaks_off_ends_the_mail_server(receivers: Receivers) -> None:
    host, port = receivers.smarthost.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"DATA\r\nSubject: half a")
        connection.shutdown(socket.SHUT_WR)
        assert receivers.mails.get(timeout=60) == "Subject: half a"


def test_a_failed_pipeline_tells_the_webhook(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFICATIONS_WEBHOOK", receivers.webhook)
    assert script.main(["ci-cd failed on main"]) == 0
    assert receivers.posts.get(timeout=60) == {"text": "ci-cd failed on main"}
    monkeypatch.delenv("NOTIFICATIONS_WEBHOOK")
    assert script.main(["ci-cd failed on main"]) == 0
    assert "nobody is notified" in capsys.readouterr().out
    assert receivers.posts.empty()


def test_a_webhook_that_does_not_take_the_message_is_an_error_without_its_address(receivers: Receivers) -> None:
    gone = receivers.webhook.replace(SECRET, "gone")
    with pytest.raises(ReleaseError, match="did not take the message: 404"):
        notify(gone, "text")
    closed = f"http://127.0.0.1:{free_port()}/{SECRET}"
    with pytest.raises(ReleaseError, match="did not take the message: ConnectionRefusedError") as raised:
        notify(closed, "text")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://localhost/a {}", "is not an address"),
        ("http://localhost/a\x07{}", "is not an address"),
        ("http://localhost/a\n{}", "is not an address"),
        ("http://localhost/ą{}", "did not take the message: UnicodeEncodeError"),
        ("http://localhost:{}/", "did not take the message: InvalidURL"),
        ("http://[{}/", "did not take the message: ValueError"),
    ],
)
def test_a_webhook_that_is_no_address_is_an_error_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, problem: str
) -> None:
    monkeypatch.setenv("NOTIFICATIONS_WEBHOOK", address.format(SECRET))
    assert script.main(["text"]) == 1
    said = capsys.readouterr().err
    assert problem in said
    assert SECRET not in said


def test_white_space_around_a_webhook_is_not_part_of_it(receivers: Receivers) -> None:
    notify(f"{receivers.webhook}\n", "text")
    assert receivers.posts.get(timeout=60) == {"text": "text"}
