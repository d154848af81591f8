"""The ground floor: settings, database, logs, telemetry, health, shutdown."""
