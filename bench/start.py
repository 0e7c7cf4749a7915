"""Where the command starts: what must be set before torch is loaded."""

import os


def main() -> None:
    """Run the command, its idle threads asleep.

    OpenMP's threads wait for each other by spinning. Where anything else runs on the machine, the networks of this
    benchmark, small as they are, then take ten times as long and more. A user's own setting has precedence.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .cli import main as command

    command()
