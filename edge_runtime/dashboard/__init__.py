"""The dashboard: one page, live, for every device on a broker."""
