"""A conversion as one page that needs nothing else: no script, no address, no font of others."""
