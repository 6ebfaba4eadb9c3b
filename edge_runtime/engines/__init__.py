"""Engines: interpreters and their delegates."""
