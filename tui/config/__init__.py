"""Paths, settings and network files."""
