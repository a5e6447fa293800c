"""Clips: frames of a moving camera, each made finer with those beside it, from a container into another."""
