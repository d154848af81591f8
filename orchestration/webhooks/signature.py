"""Signatures as Standard Webhooks 1.0 has them: https://www.standardwebhooks.com."""

import binascii
import hmac
from base64 import b64decode, b64encode

from operations.errors import ConfigurationError

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # bytes


class Signer:
    """Signs with one or more secrets, so that they can be replaced without a gap."""

    def __init__(self, secrets: str) -> None:
        """Take ``whsec_…``, several with a space between them.

        Raises:
            ConfigurationError: one is no such secret.
        """
        self._keys = [_key(secret) for secret in secrets.split() or [secrets]]

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return the header ``webhook-signature``; ``timestamp`` is in seconds since 1970."""
        signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
        digests = (hmac.digest(key, signed, "sha256") for key in self._keys)
        return " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests)


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise ConfigurationError(
            "MASTERLOOP_WEBHOOK_SECRET",
            "this is not a secret of Standard Webhooks",
            f"It has to be {_PREFIX} and 24 to 64 bytes in base64; make one with "
            f'`echo "{_PREFIX}$(openssl rand -base64 32)"`.',
        )
    return key
