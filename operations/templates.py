"""Values of the configuration that take something from the environment."""

import re
from collections.abc import Mapping

from operations.errors import ConfigurationError

_VARIABLE = re.compile(r"\$?\{\{\s*env\.(\w+)\s*\}\}")


def fill_in(template: str, environment: Mapping[str, str], *, where: str, prefix: str = "") -> str:
    """Return ``template`` with every ``${{ env.NAME }}`` filled in.

    Raises:
        ConfigurationError: a variable is not set, or does not begin with ``prefix``.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not name.startswith(prefix):
            problem = f"{name} must not be given away"
            raise ConfigurationError(where, problem, f"Only {prefix}* can be used here.")
        if name not in environment:
            raise ConfigurationError(where, f"{name} is not set", f"Set {name}.")
        return environment[name]

    return _VARIABLE.sub(value, template)
