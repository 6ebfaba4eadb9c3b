"""Commented configurations, one file per board."""
