"""Telemetry: what happens is told once, and taken from there to whoever keeps or shows it."""
