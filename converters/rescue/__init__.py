"""What is tried when an int8 artifact lost too much: ranges, equalisation, bias correction, layers in more bits."""
