"""What `import scorekit` costs over `import torch`: python3 run.py benchmarks/import_time.py.

CPU seconds of fresh interpreters, in turn, with warm byte code.
"""

import os
import subprocess
import sys

from _timing import machine, paired_ratio


def fresh(statement: str) -> None:
    """Run `statement` in a new interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)


def children() -> float:
    """CPU seconds of the interpreters that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    print(machine())
    ours, torch_alone, ratio = paired_ratio(
        lambda: fresh("import scorekit"), lambda: fresh("import torch"), rounds=7, clock=children
    )
    print(f"import scorekit {ours:.2f} s, import torch {torch_alone:.2f} s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
