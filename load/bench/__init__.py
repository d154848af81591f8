"""Masterloop beside its peers: ``make bench``, explained in ``docs/performance.md``."""
