"""Crons: runs that are submitted again and again, when a schedule says so."""
