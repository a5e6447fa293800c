"""Training of the networks: patches, recipes and the loop."""
