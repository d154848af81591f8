"""Retention: what is deleted by itself, because it was given a time to live."""
