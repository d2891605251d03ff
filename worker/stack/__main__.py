"""`python -m worker.stack`: the same commands without the rest of the program."""

from worker.stack.commands import stack_app

stack_app()
