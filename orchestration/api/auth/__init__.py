"""Providers of authorisation: handlers of the project, keys, tokens."""
