"""`python -m webapp.commands`: the same as `energy`."""

from webapp.commands import main

main()
