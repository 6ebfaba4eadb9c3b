"""Measure a device: small models of one operator each, timed, and a profile made of them."""
