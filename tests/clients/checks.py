"""Runs the checks of a client one by one and prints the name of each."""

import sys
import traceback

checks = []


def check(function):
    checks.append(function)
    return function


def main():
    """Hands each check the arguments of the command line; ends with 1 if any failed."""
    failed = 0
    for function in checks:
        name = function.__name__.replace("_", " ")
        try:
            function(*sys.argv[1:])
            print(f"ok      {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc()
    print(f"{len(checks) - failed} of {len(checks)} checks passed")
    sys.exit(1 if failed else 0)
