"""Where the command starts: what must be set before torch is loaded."""

import os


def main() -> None:
    """Run the command, its waiting threads asleep before long.

    GNU OpenMP's threads wait for each other by spinning, for milliseconds. Where anything else runs on the machine,
    the networks of this benchmark, small as they are, then take ten times as long and more. Spinning for some
    microseconds costs nothing where the machine is free. A user's own setting has precedence.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from .cli import main as command

    command()
