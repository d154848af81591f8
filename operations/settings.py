"""What an operator may set: ``MASTERLOOP_*`` in the environment, read once at the start."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from operations.errors import ConfigurationError, nearest

PREFIX = "MASTERLOOP_"
# Read by the code that they concern, not settings of the service.
EXTRA_VARIABLES = frozenset({"MASTERLOOP_FAILPOINTS", "MASTERLOOP_API_KEY"})

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[FiniteFloat, Field(gt=0)]
Lowercase = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


def _networks(value: object) -> object:
    """Return the addresses and networks that a text has, with commas or spaces between them."""
    if not isinstance(value, str):
        return value
    found = tuple(value.replace(",", " ").split())
    try:
        for each in found:
            ip_network(each)
    except ValueError as error:
        wanted = f"addresses or networks with a comma between them, as 10.0.0.0/8 ({error})"
        raise PydanticCustomError("networks", "{wanted}", {"wanted": wanted}) from None
    return found


class Settings(BaseSettings):
    """The settings of one service; ``None`` means that there is no such limit."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    data_dir: Path = Path(".masterloop")  # runs, threads and checkpoints live here

    max_concurrent_runs: Annotated[int, Field(ge=1, le=10_000)] = 100  # runs that wait for I/O
    workers: Annotated[int, Field(ge=0, le=256)] = 0  # processes for graphs; 0: the server's own
    worker_timeout: Seconds = 60.0  # seconds that a worker process may not answer
    queue_capacity: Count = 10_000  # runs
    runs_per_assistant: Count | None = None  # runs at a time
    runs_per_tenant: Count | None = None  # runs at a time
    submit_rate: Annotated[FiniteFloat, Field(gt=0)] | None = None  # runs per second and tenant
    ageing: Seconds = 60.0  # seconds of waiting that count as one level of priority
    run_timeout: Seconds | None = None  # seconds, of a run that names no timeout of its own
    crash_limit: Annotated[int, Field(ge=1, le=100)] = 3  # crashes of its worker that end a run

    # Seconds after the signal. A stop takes at most 10 s beyond the last of them: 25 s in all.
    drain_delay: Annotated[FiniteFloat, Field(ge=0)] = 2.0  # not ready, but taking runs
    drain_grace: Annotated[FiniteFloat, Field(ge=0)] = 10.0  # then runs are cancelled
    drain_grace_critical: Annotated[FiniteFloat, Field(ge=0)] = 15.0  # of priority 0 to 3
    cancel_grace: Seconds = 10.0  # seconds a cancelled run has to clean up

    keep_alive: Seconds = 5.0  # seconds between signs of life on a quiet stream
    send_timeout: Seconds = 30.0  # seconds a client may make the server wait
    unknown_fields: Annotated[Literal["refuse", "ignore"], Lowercase] = "refuse"  # of requests
    max_body: Annotated[int, Field(ge=1024, le=1024**3)] = 4 * 1024**2  # bytes

    webhook_secret: SecretStr | None = None  # whsec_…; two, with a space, while it is replaced

    oidc_issuer: str | None = None  # whose tokens are taken, as they name it
    oidc_audience: str | None = None  # whom they have to be for; needed with an issuer
    oidc_jwks_url: str | None = None  # where the issuer's keys are, if it does not tell itself

    # Whose X-Forwarded-For and X-Forwarded-Proto are believed.
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)] = ()

    admin_port: Annotated[int, Field(ge=1, le=65_535)] | None = None  # on 127.0.0.1, for scrapes

    audit_size: Annotated[int, Field(ge=1024**2)] = 1024**3  # bytes of the audit trail

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lowercase] = "info"
    log_format: Annotated[Literal["auto", "console", "json"], Lowercase] = "auto"  # see dev, serve


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of the environment; an override that is not ``None`` goes first.

    Raises:
        ConfigurationError: a variable is unknown, or its value is not one that it can have.
    """
    _refuse_misspelt_variables()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _in_words(error, given) from None


def _refuse_misspelt_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | EXTRA_VARIABLES
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            hint = nearest(name.upper(), known, prefix=PREFIX)
            raise ConfigurationError(name, "there is no such setting", hint)


def _in_words(error: ValidationError, given: dict[str, Any]) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            name, "there is no such setting", nearest(name, Settings.model_fields)
        )
    rule = first["msg"].removeprefix("Input should be ").partition(", unable to")[0]
    default = Settings.model_fields[name].default
    unset = "no limit" if default is None else "none" if default == () else default
    return ConfigurationError(
        name if name in given else PREFIX + name.upper(),
        f"found {first['input']!r}",
        f"It has to be {rule}; unset, it is {unset}.",
    )
