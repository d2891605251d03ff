"""`settlement sandbox …`: the simulated connector and ERP."""

import typer

from worker.sandbox.connector_command import connector_command
from worker.sandbox.erp_command import erp_command

sandbox_app = typer.Typer(no_args_is_help=True, help="A payment connector and an ERP to try things with.")
sandbox_app.command("connector")(connector_command)
sandbox_app.command("erp")(erp_command)
