"""What looks after the process: signals, the service manager, progress, memory, the clock, the configuration's file."""
