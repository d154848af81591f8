"""``masterloop.telemetry``: what all telemetry of a service says of it."""

from collections.abc import Mapping

from pydantic import Field

from operations.sections import Section
from operations.telemetry import semconv


class TelemetrySection(Section):
    """What is stamped on every event: the service, where it runs, whose it is."""

    service_name: str = "masterloop"
    environment: str | None = None
    fields: dict[str, str] = Field(default_factory=dict[str, str])  # branding, tenant, region, …

    def common(self, version: str) -> Mapping[str, str]:
        """Return it by OpenTelemetry's names."""
        known = {semconv.SERVICE_NAME: self.service_name, semconv.SERVICE_VERSION: version}
        if self.environment is not None:
            known[semconv.ENVIRONMENT] = self.environment
        return {**self.fields, **known}
