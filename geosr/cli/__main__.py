"""`python -m geosr.cli`: the command line where a launcher, such as torchrun, wants a module."""

from geosr.cli import main

main()
