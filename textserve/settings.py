"""Every setting of the service, read from ``TEXTSERVE_*`` environment variables.

The documentation's table of settings is generated from this class.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUseDefault
from pydantic_settings import BaseSettings, SettingsConfigDict

from textserve import validation
from textserve.cpus import available_cpus
from textserve.keys import ApiKeys
from textserve.tls import Certificate

logger = logging.getLogger(__name__)

PREFIX = "TEXTSERVE_"
# Kubernetes sets variables for each Service of the namespace in every container. A Service whose name begins with
# "textserve" shares our prefix: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_URL = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
SERVICE_VARIABLE = re.compile(
    r"\w+_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR))=.*"
    rf"|\w+_PORT(_\d+_(TCP|UDP|SCTP))?={SERVICE_URL.pattern}"
)
# Similarity, from 0 to 1, above which an unknown variable counts as a mistyped setting.
MISTYPED = 0.75
# Error messages by pydantic's error type.
MESSAGES = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "string_pattern_mismatch": "must be NAME or NAME:VERSION, of lower case letters, digits, dots and dashes",
}


# A scheme, a host and perhaps a port, as browsers send it (RFC 6454, section 6.2).
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s,*?#@]+")


class SettingsError(ValueError):
    """A setting is invalid. The message has one line per setting, without its value, which may be a key."""


class Settings(BaseSettings):
    """Settings with their defaults; the variable ``TEXTSERVE_THREADS`` sets ``threads``, and so on.

    An empty variable counts as not set. So does a URL that Kubernetes has set, such as ``TEXTSERVE_GRPC_PORT`` for a
    Service named ``textserve-grpc``.
    """

    # An invalid value may be a key: errors do not show it.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def read(cls) -> Settings:
        """The settings from the environment.

        Raises:
            SettingsError: if a setting is invalid, or a variable is likely a mistyped setting.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = validation.problems(error, MESSAGES)
            lines = [
                f"{PREFIX}{problem.where.upper()}: {problem.message}" if problem.where else problem.message
                for problem in problems
            ]
            raise SettingsError("\n".join(lines).replace("Input should be", "must be")) from None

    @field_validator("*", mode="before")
    @classmethod
    def _kubernetes_does_not_set_it(cls, value: Any) -> Any:
        if isinstance(value, str) and SERVICE_URL.fullmatch(value):
            raise PydanticUseDefault
        return value

    @model_validator(mode="after")
    def _no_unknown_variable(self) -> Settings:
        known = {name.upper() for name in type(self).model_fields}
        for variable, value in sorted(os.environ.items()):
            name = variable.removeprefix(PREFIX)
            if name == variable or name in known or not value:
                continue
            if SERVICE_VARIABLE.fullmatch(f"{variable}={value}"):
                continue
            if similar := difflib.get_close_matches(name, known, n=1, cutoff=MISTYPED):
                raise ValueError(f"{variable}: no such setting; did you mean {PREFIX}{similar[0]}?")
            logger.warning("%s is not a setting and has no effect", variable)
        return self

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not ORIGIN.fullmatch(origin):
                raise ValueError("must be * or origins such as https://shop.example, without a path")
        return value

    @model_validator(mode="after")
    def _files_can_be_read(self) -> Settings:
        for name in ("api_keys_file", "tls_certificate", "tls_key"):
            path: Path | None = getattr(self, name)
            try:
                content = path.read_text(encoding="utf-8") if path else "-"
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{PREFIX}{name.upper()}: {path} cannot be read: {error}") from None
            if not content.strip():
                raise ValueError(f"{PREFIX}{name.upper()}: {path} is empty")
        try:
            self.keys()
        except ValueError as error:
            raise ValueError(f"{PREFIX}API_KEYS or {PREFIX}API_KEYS_FILE: {error}") from None
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY: set both or neither")
        return self

    model: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-zA-Z0-9._-]+)?$",
        description="Name of the model in BentoML's model store. By default the one that `service.py` names.",
    )
    threads: int = Field(
        default_factory=available_cpus,
        ge=1,
        description="Batches computed in parallel, one core each. Default: every core available to the process.",
    )
    max_batch_texts: int = Field(32, ge=1, description="Maximum texts per batch.")
    max_batch_tokens: int = Field(
        512, ge=1, description="Maximum tokens per batch, padding included; a longer text is computed alone."
    )
    max_padding_tokens: int = Field(
        6, ge=0, description="Maximum padding tokens that a text may add to a batch, about the cost of another run."
    )
    spread_batches: bool = Field(
        True,
        description="Whether a large batch, such as one long text, is computed on every core while no other batch is, "
        "on Linux. The first such batch starts to load a second copy of the model, with its memory.",
    )
    batch_wait_seconds: float = Field(
        0.0,
        ge=0,
        description="Maximum seconds that a free core waits for a batch to fill while several requests are open.",
    )
    cache_megabytes: int = Field(
        0,
        ge=0,
        description="Megabytes of memory for a cache of the most recently used answers; 0 disables it. The response "
        "time may tell a client whether somebody else has sent the same text.",
    )
    max_queue_seconds: float = Field(
        2.0,
        gt=0,
        description="Maximum seconds that a request waits for its first text to be computed, estimated from the "
        "measured speed; beyond it, requests are rejected with 429.",
    )
    max_waiting_tokens: int = Field(
        200_000, ge=1, description="Maximum tokens in the queue, which bounds memory; beyond it, requests get 429."
    )
    request_seconds: float = Field(
        30.0, gt=0, description="Seconds after which an unanswered request is dropped and answered with 504."
    )
    stall_seconds: float = Field(
        10.0,
        gt=0,
        description="Seconds within which a worker thread must finish a batch; otherwise the service is not ready, and "
        "after three times as long its process ends.",
    )
    receive_seconds: float = Field(
        20.0,
        gt=0,
        description="Seconds within which a request must arrive; otherwise it is answered with 408. HTTP allows more "
        "time while 1000 bytes arrive a second.",
    )
    max_connections: int = Field(
        512,
        ge=1,
        description="Maximum open connections of HTTP, and of gRPC; fewer if the process may open fewer files. Beyond "
        "it, HTTP closes the connection that has been idle longest, or answers 429.",
    )
    max_receiving_bytes: int = Field(
        33_554_432,
        ge=1,
        description="Maximum bytes of long HTTP bodies, of all unanswered requests together, received or being "
        "received; beyond it, a slow request is dropped or a new one gets 429.",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="API keys of at least 16 characters, separated by commas. Without any, no key is required.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with more API keys, one per line, beside TEXTSERVE_API_KEYS; read again when it changes.",
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may call the service, such as https://shop.example, separated by commas, or "
        "`*` for every origin. Without any, no page may.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file with the certificate chain for HTTP and gRPC over TLS. It is read again when it changes, "
        "and so is its key.",
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key.")
    max_body_bytes: int = Field(4_194_304, ge=1, description="Maximum bytes per request body.")
    max_texts: int = Field(
        1000, ge=1, description="Maximum texts per request; fewer if a model has over 50 labels: at most 50,000 scores."
    )
    max_characters: int = Field(
        20_000, ge=1, description="Maximum characters per text; text beyond the model's input is truncated."
    )
    max_explained_tokens: int = Field(
        25_000,
        ge=1,
        description="Maximum tokens to compute for an explanation: the tokens of the text, once for the text and once "
        "for each of its words.",
    )
    drift_texts: int = Field(
        1000,
        ge=1,
        description="Texts in the sliding window that is compared with the model's reference, each time that a tenth "
        "of it is new.",
    )
    sample_folder: Path | None = Field(
        None,
        description="Folder for a sample of the texts, redacted, with their answers. By default no text is kept.",
    )
    sample_one_in: int = Field(100, ge=1, description="One text in this many is in the sample, chosen at random.")
    sample_days: int = Field(7, ge=1, description="Days for which the files of the sample are kept.")
    grpc_host: str = Field("0.0.0.0", description="Address of the gRPC server.")  # noqa: S104  # as for HTTP
    grpc_port: int = Field(3002, ge=0, le=65535, description="Port of the gRPC server; 0 disables gRPC.")
    drain_seconds: float = Field(
        20.0, gt=0, description="Seconds for accepted requests to be answered after the service is told to stop."
    )
    stop_delay_seconds: float = Field(
        1.0,
        ge=0,
        description="Seconds for which a stopping service is unready but still accepts requests, so that load "
        "balancers notice.",
    )

    @property
    def batch_threads(self) -> int:
        """The threads of a spread batch: 1 if batches are not spread, as where a thread has no priority of its own."""
        return self.threads if self.spread_batches and sys.platform == "linux" else 1

    def keys(self) -> ApiKeys:
        """The API keys from both settings.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if a key is too short.
        """
        return ApiKeys(_listed(self.api_keys.get_secret_value()), self.api_keys_file)

    def origins(self) -> list[str]:
        """The origins whose pages may call the service."""
        return _listed(self.cors_origins)

    def certificate(self) -> Certificate | None:
        """The certificate of HTTP and gRPC, if both files are set."""
        return Certificate(self.tls_certificate, self.tls_key) if self.tls_certificate and self.tls_key else None


def _listed(value: str) -> list[str]:
    return [item for part in value.split(",") if (item := part.strip())]
