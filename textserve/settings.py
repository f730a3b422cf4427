"""Every setting of the service, read from ``TEXTSERVE_*`` environment variables, in one class."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from textserve.cpus import available_cpus
from textserve.keys import ApiKeys

PREFIX = "TEXTSERVE_"


class Settings(BaseSettings):
    """Settings with their defaults; ``TEXTSERVE_THREADS=4`` in the environment sets ``threads``, and so on."""

    # What a wrong setting is set to is not in its error: it might be a key.
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="after")
    def _no_unknown_variable(self) -> Settings:
        known = {f"{PREFIX}{name}".upper() for name in type(self).model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
        return self

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
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY: set both, or none of them")
        return self

    model: str = Field("sentiment-pl-en", description="Name of the model in the BentoML model store.")
    threads: int = Field(
        default_factory=available_cpus,
        ge=1,
        description="Batches computed at the same time, one core each; by default every core this process may use.",
    )
    max_batch_texts: int = Field(32, ge=1, description="Texts in one batch at most.")
    max_batch_tokens: int = Field(
        512, ge=1, description="Tokens in one batch at most, padding included; one longer text is a batch of its own."
    )
    max_padding_tokens: int = Field(
        6,
        ge=0,
        description="Tokens of padding that a text may add to a batch by joining it, about what one run more costs.",
    )
    batch_wait_seconds: float = Field(
        0.0,
        ge=0,
        description="Seconds for which a free core waits at most for a batch to fill while several requests are open.",
    )
    max_queue_seconds: float = Field(
        2.0,
        gt=0,
        description="Seconds for which a request may have to wait before its first text is computed, as expected from "
        "the speed achieved; beyond that requests are refused with 429. A request's later texts wait for others.",
    )
    max_waiting_tokens: int = Field(
        200_000, ge=1, description="Tokens that may wait in all, which bounds memory; beyond that requests get 429."
    )
    request_seconds: float = Field(
        30.0, gt=0, description="Seconds after which a request that is not answered is dropped, and answered with 504."
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="Keys that may ask, separated by commas; with none, everybody may."
    )
    api_keys_file: Path | None = Field(
        None, description="A file with a key on each line, beside those of TEXTSERVE_API_KEYS."
    )
    tls_certificate: Path | None = Field(
        None, description="A PEM file with the certificate, and those above it, for HTTP and gRPC over TLS."
    )
    tls_key: Path | None = Field(None, description="A PEM file with the private key of the certificate.")
    max_body_bytes: int = Field(4_194_304, ge=1, description="Bytes in a request's body at most.")
    max_texts: int = Field(1000, ge=1, description="Texts in a request at most.")
    max_characters: int = Field(
        20_000, ge=1, description="Characters in a text at most; fewer, but more than the model reads, are truncated."
    )
    max_explained_words: int = Field(
        200,
        ge=1,
        description="Words in a text at most where each is explained; every word is one more text for the runner.",
    )
    grpc_host: str = Field("0.0.0.0", description="Address on which gRPC listens.")  # noqa: S104  # as HTTP does
    grpc_port: int = Field(3002, ge=0, le=65535, description="Port on which gRPC listens; with 0 there is no gRPC.")
    drain_seconds: float = Field(
        20.0, gt=0, description="Seconds for which accepted work is still answered after the service is told to stop."
    )
    stop_delay_seconds: float = Field(
        1.0,
        ge=0,
        description="Seconds for which the service goes on accepting after it is told to stop, no longer ready: "
        "time for whoever sends requests here to see it.",
    )

    def keys(self) -> ApiKeys:
        """The API keys of both settings.

        Raises:
            OSError: if the file cannot be read.
        """
        lines = self.api_keys.get_secret_value().split(",")
        if self.api_keys_file:
            lines += self.api_keys_file.read_text(encoding="utf-8").splitlines()
        return ApiKeys(key for line in lines if (key := line.strip()))
