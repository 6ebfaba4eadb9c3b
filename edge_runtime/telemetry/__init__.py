"""What the device says of itself: resources, latencies, rates."""
