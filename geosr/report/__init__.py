"""A result on one page that opens from disk: places to look at, figures, where it comes from."""
