"""JSON web tokens: who is believed, and how often the issuer is asked."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from operations.egress import UrlPolicy
from operations.errors import ConfigurationError
from operations.outbound import Outbound
from orchestration.api.auth.builtin import InvalidToken, IssuerSilent
from orchestration.api.auth.tokens import REFETCH, RETRY, Tokens
from tests.api.client import open_client, open_play
from tests.api.issuer import AUDIENCE, Issuer, open_issuer

LOCAL = UrlPolicy(require_https=False, disable_loopback=False)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def open_tokens(clock: Clock | None = None) -> AsyncGenerator[tuple[Issuer, Tokens]]:
    async with open_issuer() as issuer, aclosing(Outbound(LOCAL)) as outbound:
        yield (
            issuer,
            Tokens(outbound, issuer=issuer.url, audience=AUDIENCE, clock=clock or Clock()),
        )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_of_the_issuer_is_believed(algorithm: str) -> None:
    async with open_tokens() as (issuer, tokens):
        issuer.add("two", algorithm)
        claims = await tokens.verify(issuer.token("two", org="acme"))
        assert (claims["sub"], claims["org"]) == ("alice", "acme")


def _unsigned(issuer: Issuer, **header: Any) -> str:
    now = int(time.time())
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "a", "exp": now + 60, "nbf": now}
    parts = ({"alg": "none", "typ": "JWT", **header}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    return b".".join([*encoded, b""]).decode()


def _hmac_with_the_public_key(issuer: Issuer) -> str:
    _, key = issuer.keys["one"]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # By hand: PyJWT refuses to sign with such a secret.
    unsigned = _unsigned(issuer, alg="HS256", kid="one").removesuffix(".")
    signature = hmac.new(public, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _own_key(issuer: Issuer) -> str:
    other = Issuer(url=issuer.url)
    other.add("one", "RS256")
    return other.token("one", {"jwk": other.public("one"), "jku": "http://127.0.0.1:9/keys"})


@pytest.mark.parametrize(
    "forge",
    [
        _unsigned,
        _hmac_with_the_public_key,
        _own_key,
        lambda issuer: issuer.token(aud="others"),
        lambda issuer: issuer.token(iss="https://evil.example"),
        lambda issuer: issuer.token(exp=int(time.time()) - 60),
        lambda issuer: issuer.token(exp=None),
        lambda issuer: issuer.token(aud=None),
        lambda issuer: issuer.token(iss=None),
        lambda issuer: issuer.token(sub=None),
        lambda issuer: issuer.token(nbf=int(time.time()) + 600),
        lambda issuer: issuer.token(nbf=None),
        lambda issuer: issuer.token(headers={"crit": ["x"], "x": 1}),
        lambda issuer: issuer.token(headers={"kid": "../../x"}),
        lambda _: "a.b",
        lambda issuer: issuer.token()[:-4] + "AAAA",
        lambda issuer: issuer.token(pad="x" * 20_000),
        lambda issuer: "",
        lambda issuer: "ä.ö.ü",
    ],
)
async def test_a_forged_token_is_not(forge: Any) -> None:
    async with open_tokens() as (issuer, tokens):
        await tokens.verify(issuer.token())
        with pytest.raises(InvalidToken):
            await tokens.verify(forge(issuer))


async def test_clocks_may_differ_by_half_a_minute() -> None:
    async with open_tokens() as (issuer, tokens):
        assert await tokens.verify(issuer.token(exp=int(time.time()) - 20))


async def test_keys_are_fetched_once_and_again_for_an_unknown_one_after_a_minute() -> None:
    clock = Clock()
    async with open_tokens(clock) as (issuer, tokens):
        for _ in range(3):
            await tokens.verify(issuer.token())
        assert issuer.looks == 1
        issuer.add("two", "ES256")
        for _ in range(3):
            with pytest.raises(InvalidToken, match="no such key"):
                await tokens.verify(issuer.token("two"))
        assert issuer.looks == 1
        clock.now += REFETCH
        assert await tokens.verify(issuer.token("two"))
        assert issuer.looks == 2


async def test_an_issuer_that_was_silent_is_asked_again_after_seconds() -> None:
    clock = Clock()
    async with open_tokens(clock) as (issuer, tokens):
        issuer.silent = True
        for _ in range(3):
            with pytest.raises(IssuerSilent):
                await tokens.verify(issuer.token())
        assert issuer.looks == 1
        issuer.silent = False
        clock.now += RETRY
        assert await tokens.verify(issuer.token())
        issuer.silent = True
        clock.now += REFETCH
        with pytest.raises(IssuerSilent):
            await tokens.verify(issuer.token(headers={"kid": "two"}))
        assert await tokens.verify(issuer.token())
        assert issuer.looks == 3


async def test_whose_token_cannot_be_checked_is_told_so_and_has_guessed_nothing(
    tmp_path: Path,
) -> None:
    async with open_issuer() as issuer:
        issuer.silent = True
        settings: dict[str, Any] = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
        async with open_client(tmp_path, "echo", **settings) as client:
            for number in range(12):
                token = issuer.token(sub=f"user-{number}")
                whose = {"authorization": f"Bearer {token}"}
                refused = await client.post("/threads", headers=whose)
                assert refused.status_code == 503
                assert 5 <= int(refused.headers["retry-after"]) <= 10
                assert "issuer's keys cannot be fetched" in refused.json()["detail"]


async def test_a_token_opens_the_service_and_keeps_its_bearer_apart(tmp_path: Path) -> None:
    async with open_issuer() as issuer:
        settings: dict[str, Any] = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
        async with open_client(tmp_path, "echo", **settings) as client:
            alice = {"authorization": f"Bearer {issuer.token()}"}
            bob = {"authorization": f"bearer {issuer.token(sub='bob')}"}
            looking = {"authorization": f"Bearer {issuer.token(scope='openid masterloop:read')}"}
            made = await client.post("/threads", headers=alice)
            path = f"/threads/{made.json()['thread_id']}"
            assert (await client.get(path, headers=looking)).status_code == 200
            assert (await client.get(path, headers=bob)).status_code == 404
            assert (await client.post("/threads", headers=looking)).status_code == 403
            refused = await client.get(path, headers={"authorization": "Bearer x.y.z"})
            assert refused.status_code == 401
            assert (await client.get(path, headers={"x-api-key": issuer.token()})).is_success


async def test_an_issuer_without_an_audience_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MASTERLOOP_OIDC_AUDIENCE"):
        async with open_play(tmp_path, "echo", oidc_issuer="https://id.example"):
            pass


async def test_an_issuer_that_would_never_be_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MASTERLOOP_OIDC_ISSUER"):
        async with open_play(
            tmp_path, "echo", oidc_issuer="http://id.example", oidc_audience=AUDIENCE
        ):
            pass


def test_pyjwt_knows_the_algorithms() -> None:
    assert {"RS256", "ES256", "EdDSA"} <= set(jwt.algorithms.get_default_algorithms())
