"""Secrets stay out of everything that the service tells of itself.

A value is replaced by its key (``password``, ``x-api-key``, …), a text by what it looks like: keys
of well-known services and our own, bearer tokens, JSON Web Tokens, passwords in addresses.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "[redacted]"
_NUMBERS = (bool, int, float)
_DEPTH = 8  # levels of a value that are looked at; what is below is not told

_KEY = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|credential|authorization|cookie|private_?key"
    r"|(api|access|auth|signing|client|webhook)[-_ ]?(key|token)|(^|[-_])(jwt|apikey)$|token$"
)
# It begins a word, or stands behind an escape, such as the \n in what repr() tells of a text.
_BEGIN = r"(?: (?<![A-Za-z0-9]) | (?<=\\[bfnrt]) | (?<=\\x[0-9a-f]{2}) | (?<=\\u[0-9a-f]{4}) )"
# Texts are as long as their authors like: nothing here may look at a part of one again and again.
# Where no two dots follow, no later "eyJ" of the part begins a token either, and it is left behind.
_JSON_WEB_TOKEN = re.compile(
    _BEGIN + r"eyJ[A-Za-z0-9_-]{8,}+ (\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*)?", re.VERBOSE
)
_SECRETS = re.compile(
    _BEGIN
    + r"""
    (?: (?:sk|pk|rk)[-_][A-Za-z0-9_-]{8,}                      # OpenAI, Anthropic, Stripe
      | ml_[0-9a-f]{16}_[A-Za-z0-9_-]{20,}                     # our own
      | whsec_[A-Za-z0-9+/=]{16,}
      | lsv2_[A-Za-z0-9_]{16,}
      | (?:gh[pousr]|github_pat)_[A-Za-z0-9_]{16,}
      | (?:gsk|hf)_[A-Za-z0-9]{16,}                            # Groq, Hugging Face
      | (?:tvly|pplx|xai|nvapi|glpat)-[A-Za-z0-9_-]{16,}
      | xox[abposr]-[A-Za-z0-9-]{10,}
      | A[KS]IA[A-Z0-9]{16}\b
      | AIza[A-Za-z0-9_-]{30,}
    )
    | (?<=://)[^\s/@:"']*:[^\s/@"']+(?=@)         # user:password@
    | (?i:(?<=bearer\ ))[A-Za-z0-9._~+/=-]{8,}
    | (?i:(?<=basic\ ))[A-Za-z0-9+/=]{8,}
    | (?i:(?<=password)|(?<=api_key)|(?<=apikey)|(?<=secret)|(?<=token))
      (?: (=)[^\s&;,"']+                           # of an address or a form
        | (["']\ ?:\ ?b?")(?:[^"\\]|\\.)++         # in JSON, or as repr() tells of a dictionary
        | (["']\ ?:\ ?b?')(?:[^'\\]|\\.)++
        | (\\"\ ?:\ ?\\")(?:[^"\\]|\\{3}"|\\[^"])++  # in JSON in a text of JSON
      )
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|$)
    """,
    re.VERBOSE | re.DOTALL,
)


# One of these is in whatever the pattern finds, in lower case. To look for them first is ten times
# as fast, and nearly nothing has one.
_SIGNS = (
    *(f"{kind}k{mark}" for kind in "spr" for mark in "-_"),
    "ml_", "whsec_", "lsv2_", "gh", "github_pat_", "hf_", "tvly-", "pplx-", "xai-", "nvapi-",
    "glpat-", "xox", "akia", "asia", "aiza", "eyj", "://", "bearer ", "basic ", "private key",
)  # fmt: skip
_NAMES = ("password", "api_key", "apikey", "secret", "token")
_MARKS = ("=", '"', "'", "\\")  # one of which is behind a name; there are tokens everywhere


def suspicious(text: str) -> bool:
    """Return whether there may be a secret in ``text``; False is certain."""
    text = text.lower()
    named = (name + mark for name in _NAMES if name in text for mark in _MARKS)
    return any(map(text.__contains__, _SIGNS)) or any(map(text.__contains__, named))


def redact(text: str) -> str:
    """Return ``text`` without what looks like a secret."""
    if not suspicious(text):
        return text
    if "eyJ" in text:
        text = _JSON_WEB_TOKEN.sub(_without_token, text)
    return _SECRETS.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    return f"{found[found.lastindex]}{HIDDEN}" if found.lastindex else HIDDEN


def _without_token(found: re.Match[str]) -> str:
    return HIDDEN if found[1] else found[0]


def redacted(value: Any, depth: int = _DEPTH, clean: Callable[[str], str] = redact) -> Any:
    """Return a copy of ``value`` without secrets, in whatever is in it; keys have none, either.

    ``clean`` is what texts go through that no key calls a secret.
    """
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, _NUMBERS):
        return value
    if isinstance(value, Mapping):
        if not depth:
            return HIDDEN
        return {
            _told(key): HIDDEN if names_a_secret(key, one) else redacted(one, depth - 1, clean)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(one, depth - 1, clean) for one in value] if depth else HIDDEN
    return value


def _told(key: object) -> object:
    return _redacted_key(key) if isinstance(key, str) else key


@lru_cache(maxsize=1_000)
def _redacted_key(key: str) -> str:
    return redact(key)


def names_a_secret(key: object, value: object) -> bool:
    """Return whether ``key`` calls ``value`` a secret; a number of tokens is none."""
    return (
        isinstance(key, str)
        and value is not None
        and not isinstance(value, _NUMBERS)
        and _is_of_a_secret(key)
    )


@lru_cache(maxsize=1_000)
def _is_of_a_secret(key: str) -> bool:
    return _KEY.search(key) is not None
