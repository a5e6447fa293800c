"""Models: the only room that imports torch, and it does so on first use."""
