"""Options that the commands have in common."""

import click

DEFAULT_URL = "http://127.0.0.1:8000"

url_option = click.option(
    "--url", envvar="ENERGY_API_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="Where the API is."
)
key_option = click.option(
    "--key",
    envvar="ENERGY_API_KEY",
    show_envvar=True,
    help="The API key, if one is needed. Better in the environment: others see the arguments of a command.",
)
clients_option = click.option(
    "--clients",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Connections that send at the same time.",
)
