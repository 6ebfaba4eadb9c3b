"""What is put on the card as it is."""
