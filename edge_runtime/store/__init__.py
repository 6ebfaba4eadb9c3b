"""What is kept on disk: sequence numbers, models."""
