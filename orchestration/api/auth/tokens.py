"""JSON web tokens of one issuer, checked with the keys that it publishes."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import structlog

from operations.egress import UrlRefused
from operations.outbound import Outbound, RequestFailed
from orchestration.api.auth.builtin import LEEWAY, InvalidToken, IssuerSilent

ALGORITHMS = ("RS256", "ES256", "EdDSA")
REFETCH = 60.0  # seconds between two looks at the issuer's keys, at least
RETRY = 5.0  # likewise, where the last had no answer and a key is not known
_FRESH = 3600.0  # seconds after which keys are looked at again
_LONGEST = 16 * 1024  # characters of a token
_KEYS = 64  # of an issuer
_OK = 200

_log = structlog.get_logger(__name__)


class Tokens:
    """Checks tokens; fetches the issuer's keys when there is one that is not known."""

    def __init__(
        self,
        outbound: Outbound,
        *,
        issuer: str,
        audience: str,
        jwks_url: str | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._outbound = outbound
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._clock = clock or asyncio.get_running_loop().time
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._looked: float | None = None
        self._answered = False
        self._looking = asyncio.Lock()

    async def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            InvalidToken: it is not of this issuer, not for this service, or not valid now.
            IssuerSilent: it may be, but its issuer's keys cannot be fetched.
        """
        key = await self._key(_header(token))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(str(error) or type(error).__name__) from error
        if "nbf" not in claims and "iat" not in claims:
            raise InvalidToken("it does not say since when it is valid (nbf or iat)")
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise InvalidToken("it names nobody (sub)")
        return claims

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        kid = header.get("kid")
        found = self._named(kid)
        # Only who has an unknown key waits for a look that somebody else takes.
        if found is None or (self._due(found) and not self._looking.locked()):
            async with self._looking:
                if self._due(self._named(kid)):
                    self._answered = await self._look()
                    self._looked = self._clock()  # whoever waited for no answer asks no more
            found = self._named(kid)
        if found is None and not self._answered:
            raise IssuerSilent
        if found is None:
            raise InvalidToken("its issuer has no such key")
        return found

    def _named(self, kid: object) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    def _due(self, found: jwt.PyJWK | None) -> bool:
        """Return whether to look at the issuer's keys, of which one is ``found`` or not known."""
        age = _FRESH if found is not None else REFETCH if self._answered else RETRY
        return self._looked is None or self._clock() - self._looked >= age

    async def _look(self) -> bool:
        """Fetch the issuer's keys; without an answer (False), those that are known stay."""
        try:
            if self._jwks_url is None:
                self._jwks_url = await self._discover()
            document = await self._fetch(self._jwks_url)
            self._keys = dict(_usable(document["keys"][:_KEYS]))
        except (RequestFailed, UrlRefused, ValueError, LookupError, TypeError) as error:
            _log.warning("the keys of the issuer cannot be fetched", reason=str(error)[:200])
            return False
        return True

    async def _discover(self) -> str:
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._fetch(place)
        if found.get("issuer") != self._issuer:
            raise ValueError("the discovery document is of another issuer")
        return str(found["jwks_uri"])

    async def _fetch(self, url: str) -> dict[str, Any]:
        answer = await self._outbound.get(url, {"accept": "application/json"})
        if answer.status != _OK:
            raise ValueError(f"{url} answered {answer.status}")
        document = json.loads(answer.body)
        if not isinstance(document, dict):
            raise TypeError(f"{url} is no object")
        return document


def _header(token: str) -> Mapping[str, Any]:
    """Return the header of a token, of which only ``alg`` and ``kid`` are believed."""
    if len(token) > _LONGEST:
        raise InvalidToken("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidToken("it is no token of three parts") from error
    if header.get("alg") not in ALGORITHMS:
        raise InvalidToken(f"its algorithm is none of {', '.join(ALGORITHMS)}")
    if "crit" in header:
        raise InvalidToken("it has critical extensions")
    return header


def _usable(keys: Any) -> "list[tuple[str, jwt.PyJWK]]":
    """Return the keys that can sign in one of our ways, by their ids."""
    found: list[tuple[str, jwt.PyJWK]] = []
    for number, entry in enumerate(keys):
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if key.algorithm_name in ALGORITHMS:
            found.append((str(entry.get("kid", f"#{number}")), key))
    return found
