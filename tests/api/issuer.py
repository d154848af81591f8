"""An identity provider on the loopback interface, with real keys."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.api.client import serving

AUDIENCE = "masterloop-tests"


@dataclass
class Issuer:
    """Publishes its keys, and counts how often somebody looked."""

    url: str = ""
    looks: int = 0
    published: bool = True
    silent: bool = False  # it does not answer who asks for its keys
    keys: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def add(self, kid: str, algorithm: str) -> None:
        """Make a key."""
        made: Any = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        self.keys[kid] = (algorithm, made)

    def public(self, kid: str) -> dict[str, Any]:
        """Return a key as it is published."""
        algorithm, key = self.keys[kid]
        kinds: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        document: dict[str, Any] = kinds[algorithm].to_jwk(key.public_key(), as_dict=True)
        return {**document, "kid": kid, "alg": algorithm, "use": "sig"}

    def token(self, kid: str = "one", headers: Any = None, **claims: Any) -> str:
        """Return a token; a claim of None is left out."""
        now = int(time.time())
        whole = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": now + 600,
            "nbf": now,
            **claims,
        }
        given = {name: value for name, value in whole.items() if value is not None}
        algorithm, key = self.keys[kid]
        return jwt.encode(given, key, algorithm, headers={"kid": kid, **(headers or {})})


@asynccontextmanager
async def open_issuer() -> AsyncGenerator[Issuer]:
    """Open an issuer with one RSA key."""
    issuer = Issuer()
    issuer.add("one", "RS256")

    async def discover(_: Request) -> JSONResponse:
        return JSONResponse({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"})

    async def keys(_: Request) -> JSONResponse:
        issuer.looks += 1
        if issuer.silent:
            return JSONResponse({}, HTTPStatus.SERVICE_UNAVAILABLE)
        known = [issuer.public(kid) for kid in issuer.keys] if issuer.published else []
        return JSONResponse({"keys": known})

    app = Starlette(
        routes=[Route("/.well-known/openid-configuration", discover), Route("/keys", keys)]
    )
    async with serving(app) as (host, port):
        issuer.url = f"http://{host}:{port}"
        yield issuer
