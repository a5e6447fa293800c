"""Where dates of a place lie to each other."""
