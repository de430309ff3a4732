"""`python -m x2i` is the command `x2i`."""

from x2i._command import main

main()
