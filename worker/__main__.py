"""`python -m worker` is `settlement`."""

from worker.cli import main

main()
