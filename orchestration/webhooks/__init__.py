"""Webhooks: the end of a run, told to whoever asked to be told."""
