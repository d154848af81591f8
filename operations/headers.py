"""Headers that the configuration names."""

import re

from operations.errors import ConfigurationError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")


def check_header(name: str, value: str, *, where: str) -> None:
    """See that a header can be sent. What sends it would tell the value, which may be a secret.

    Raises:
        ConfigurationError: it cannot be.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(where, "this header cannot be set", "Use another name.")
    if not _VALUE.fullmatch(value):
        problem = "the value has characters that a header cannot have"
        fix = "Use printable ASCII on one line, with no space before or after it."
        raise ConfigurationError(where, problem, fix)
