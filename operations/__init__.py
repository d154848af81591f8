"""The ground floor: settings, database, telemetry, metrics, tracing, health, shutdown."""
