"""Models: kernels, networks and what runs them. torch is imported on first use."""
