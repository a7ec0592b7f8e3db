"""Options of `image_variations`. Imports neither torch nor numpy."""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from string import Formatter
from typing import Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from genbench.errors import UsageError
from genbench.protocols import GeneratorConfig


def check_key(variable: str) -> None:
    """Refuse a variable of the environment that should hold a key and does not; none is named by "".

    Raises:
        UsageError: It is not set, or empty.
    """
    if variable and not os.environ.get(variable, "").strip():
        raise UsageError(
            f"image_variations: key_env names {variable}, which is not set in the environment",
            hint=f"export {variable}=..., or key_env= for a service that needs no key",
        )


class Origin(NamedTuple):
    """Which service an address names."""

    scheme: str
    host: str
    port: int


def origin(address: str) -> Origin:
    """Return the scheme, host and port of a web address.

    Raises:
        ValueError: It is none.

    >>> origin("HTTPS://API.example.org/v1")
    Origin(scheme='https', host='api.example.org', port=443)
    """
    parts = urlsplit(address)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None:
        raise ValueError(f"the scheme {parts.scheme!r} is not that of a web address")
    return Origin(parts.scheme, parts.hostname or "", default if parts.port is None else parts.port)


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class VariationsConfig(GeneratorConfig):
    """Options of `image_variations`.

    Price, cap, key and patience are not part of the identity: with a higher cap the same set resumes where it
    stopped. `source-s4` is kyritzb/Synthetic-Data-Classification-Experiment: DALL-E 2's variations, without
    a prompt, of images enlarged to 415 pixels; three per image are `ratio=3`.
    """

    primary: ClassVar[str | None] = "model"
    location_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "backoff_seconds",
            "key_env",
            "max_spend_usd",
            "parallel_requests",
            "price_per_image_usd",
            "retries",
            "timeout_seconds",
        }
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source-s4": {
            "endpoint": "variations",
            "model": "dall-e-2",
            "upload_pixels": 415,
            "size_pixels": 256,
        },
    }

    base_url: str = Field(
        default="https://api.openai.com/v1",
        description="the service: what comes before /images/edits; a key goes to https:// or this machine",
    )
    endpoint: Literal["edits", "variations"] = Field(
        default="edits", description="`edits` sends image and prompt, `variations` the image alone"
    )
    model: str = Field(default="gpt-image-1", min_length=1, description="the model's name at the service")
    prompt: str = Field(
        default="another photo of a {label}, in another setting",
        min_length=1,
        description="what to make of the image; {label} is the name of its class",
    )
    size_pixels: int = Field(
        default=1024, ge=64, le=4096, description="side of the image that is asked for, in pixels"
    )
    upload_pixels: int = Field(
        default=1024, ge=8, le=4096, description="side that the source image is brought to for the upload"
    )
    key_env: str = Field(
        default="OPENAI_API_KEY",
        description="environment variable that holds the key, which is stored nowhere; empty sends none",
    )
    price_per_image_usd: float = Field(
        ge=0,
        examples=[0.02],
        le=1000,
        description="price of one answer in US dollars, from the service's price list; 0 is free",
    )
    max_spend_usd: float = Field(
        default=1.0, ge=0, description="cap on what one sampled set (one seed) may cost, in US dollars"
    )
    parallel_requests: int = Field(default=4, ge=1, le=64, description="requests at a time")
    retries: int = Field(
        default=5, ge=0, le=20, description="further attempts after 408, 409, 429, 5xx, silence or nonsense"
    )
    backoff_seconds: float = Field(
        default=2.0, ge=0, le=600, description="first wait before another attempt; it doubles, with jitter"
    )
    timeout_seconds: float = Field(
        default=180.0, gt=0, le=3600, description="longest time for a whole answer"
    )

    def check_machine(self) -> None:
        """Refuse to start without the key."""
        check_key(self.key_env)

    @field_validator("base_url")
    @classmethod
    def _is_web(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// (or http://, for a service on this machine)")
        if "@" in value:
            raise ValueError("must hold no user or password: name a variable in key_env")
        if not origin(value).host or set("?#\\") & set(value) or not all("!" <= one <= "~" for one in value):
            raise ValueError("must be a host with a path, in printable ASCII, without ? and #")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _encrypts_the_key(self) -> Self:
        where = origin(self.base_url)
        if self.key_env and where.scheme == "http" and not _is_this_machine(where.host):
            raise ValueError(
                f"base_url would send the key in {self.key_env} to {where.host} unencrypted: set "
                "base_url=https://..., or key_env= for a service that needs no key"
            )
        return self

    @field_validator("prompt")
    @classmethod
    def _knows_its_fields(cls, value: str) -> str:
        names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        if names - {"label"}:
            raise ValueError(f"{{label}} is the only placeholder, found {sorted(names - {'label'})}")
        return value
