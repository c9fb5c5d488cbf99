"""Alerts: what is worth waking somebody, found in successive views, and the ways it goes out."""
