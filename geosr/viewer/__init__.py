"""A page on this machine that shows a scene and what models make of it, tile by tile as they come into view."""
