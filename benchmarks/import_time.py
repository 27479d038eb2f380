"""What scorekit's imports cost: python3 run.py benchmarks/import_time.py.

CPU seconds of fresh interpreters, in turn, with warm byte code: a script's names over `import torch`, and the command
line's help, which needs no torch.
"""

import os
import subprocess
import sys

from _timing import machine, paired_ratio

# What the pages of the documentation use most. `import scorekit` alone imports nothing.
NAMES = "Objective ScaledScore SlicedScoreMatching Geometric annealed_langevin hmc sample make networks metrics"
SCRIPT = f"import scorekit as sk; [getattr(sk, name) for name in {NAMES.split()}]"


def fresh(*arguments: str) -> None:
    """Run a new interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def children() -> float:
    """CPU seconds of the interpreters that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    print(machine())
    for title, ours in (("a script's imports", ("-c", SCRIPT)), ("scorekit --help", ("-m", "scorekit", "--help"))):
        seconds, torch_alone, ratio = paired_ratio(
            lambda ours=ours: fresh(*ours), lambda: fresh("-c", "import torch"), rounds=7, clock=children
        )
        print(f"{title} {seconds:.2f} s, import torch {torch_alone:.2f} s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
