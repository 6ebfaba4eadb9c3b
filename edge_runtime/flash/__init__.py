"""On the workstation: prepare the boot partition of a card, and collect what a device installs without network."""
