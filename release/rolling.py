"""Deploys a signed image beside the running version, behind HAProxy, and moves the traffic to it by a rollout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from operate.checks import Limits
from operate.errors import OperateError
from operate.plan import OTHER, Rollout
from operate.rollout import Mirror, Pace, Where, roll_out, wait_ready
from release.deploy import FOLDER, READY_SECONDS, up, verified
from release.errors import ReleaseError

PROXY = FOLDER / "rollout" / "compose.yaml"
# The HTTP and the gRPC port of each version on this host, which only the proxy uses (deploy/rollout/haproxy.cfg).
PORTS: Mapping[str, tuple[int, int]] = {"blue": (3010, 3012), "green": (3020, 3022)}


@dataclass(frozen=True)
class Host:
    """The arguments of :mod:`operate.rollout`: where and how a version is rolled out."""

    where: Where
    mirror: Mirror | None
    steps: tuple[int, ...]
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)


def roll(host: Host, image: str, signed_by: str, additions: Sequence[str], say: Callable[[str], None]) -> None:
    """Verify ``image``, start it as the version that gets no requests, and roll it out.

    The previous version keeps running, so that a rollback only changes weights; the next deployment replaces it. The
    first deployment on a host is not compared with anything. Raises :class:`ReleaseError` as
    :func:`release.deploy.verified` does, if the image is not ready in time, or if it was found worse: then the previous
    version answers all requests again.
    """
    if "tls" in additions:
        raise ReleaseError(
            "WITH=tls: behind the proxy the service has no TLS; put the certificate into "
            f"{host.where.state.path.parent} and name it in deploy/rollout/haproxy.cfg, as /run/textserve/NAME, or "
            "deploy with STRATEGY=in-place"
        )
    running = host.where.state.read()
    if running is not None and running.status == "running":
        # This deployment would replace the candidate of that rollout.
        raise ReleaseError(
            f"a rollout of {running.candidate} is running: make rollout DO=abort, or DO=promote, ends it"
        )
    image, files = verified(image, signed_by, additions)
    proxy = host.where.proxy
    host.where.state.path.parent.mkdir(parents=True, exist_ok=True)
    if proxy.state_file is not None:
        # HAProxy warns of a missing file, and does not create it.
        proxy.state_file.touch()
    folder, user = str(host.where.state.path.parent), f"{os.getuid()}:{os.getgid()}"
    up([PROXY], {"TEXTSERVE_ROLLOUT": folder, "PROXY_USER": user}, project="textserve-proxy")
    weighted = max(OTHER, key=lambda version: sum(proxy.share(version).values()))
    first = not proxy.ready(weighted)
    candidate = weighted if first else OTHER[weighted]
    http, grpc = PORTS[candidate]
    variables = {"IMAGE": image, "PORT": f"127.0.0.1:{http}", "GRPC_PORT": f"127.0.0.1:{grpc}"}
    up(files, variables, "textserve", project=f"textserve-{candidate}")
    try:
        wait_ready(proxy, candidate, READY_SECONDS)
        if first:
            say(f"{candidate} answers all requests; there was no previous version")
            return
        rollout = Rollout(candidate, host.steps, mirror=host.mirror is not None)
        rollout = roll_out(host.where, rollout, host.limits, host.pace, host.mirror, say)
    except OperateError as error:
        raise ReleaseError(str(error)) from error
    say(f"{rollout.status}: {rollout.reason}")
    if rollout.status == "aborted":
        raise ReleaseError(f"{image} was rolled back: {rollout.reason}")
