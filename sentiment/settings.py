"""Every setting of the service, read from ``SENTIMENT_*`` environment variables, in one class."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sentiment.cpus import available_cpus
from sentiment.keys import ApiKeys

PREFIX = "SENTIMENT_"


class Settings(BaseSettings):
    """Settings with their defaults; ``SENTIMENT_THREADS=4`` in the environment sets ``threads``, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid")

    @model_validator(mode="after")
    def _no_unknown_variable(self) -> Settings:
        known = {f"{PREFIX}{name}".upper() for name in type(self).model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
        return self

    model: str = Field("sentiment-pl-en", description="Name of the model in the BentoML model store.")
    threads: int = Field(
        default_factory=available_cpus,
        ge=1,
        description="Batches computed at the same time, one core each; by default every core this process may use.",
    )
    max_batch_texts: int = Field(32, ge=1, description="Texts in one batch at most.")
    max_batch_tokens: int = Field(
        1024, ge=1, description="Tokens in one batch at most, padding included; one longer text is a batch of its own."
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
        None, description="A file with a key on each line, beside those of SENTIMENT_API_KEYS."
    )
    max_body_bytes: int = Field(4_194_304, ge=1, description="Bytes in a request's body at most.")
    max_texts: int = Field(1000, ge=1, description="Texts in a request at most.")
    max_characters: int = Field(
        20_000, ge=1, description="Characters in a text at most; fewer, but more than the model reads, are truncated."
    )
    drain_seconds: float = Field(
        20.0, gt=0, description="Seconds for which accepted work is still answered after the service is told to stop."
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
