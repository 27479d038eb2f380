"""Make this template your own: rename the distribution, the package, the classes and the registered names.

    python rename.py underdamped

turns `scorekit-template` into `scorekit-underdamped`, `scorekit_template` into `scorekit_underdamped`,
`TemplateProposal` into `UnderdampedProposal`, `template_sampler` into `underdamped_sampler`, and the name "template"
into "underdamped". Every file is read before any is written; a second run finds nothing left to rename, and says so.
Standard library only.
"""

import keyword
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SUFFIXES = {".py", ".toml", ".md"}
OWN = Path(__file__).name
FOLDER = ROOT / "src" / "scorekit_template"


def checked(name: str) -> str:
    """The name, if it can be one.

    Raises:
        SystemExit: unless it is kebab case, and gives words that Python can use.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", name):
        sys.exit(f"rename.py: {name!r} is not kebab case: expected a name like my-sampler")
    if name == "template" or name.startswith("scorekit") or keyword.iskeyword(name):
        sys.exit(f"rename.py: {name!r} is taken: expected another name, without the prefix scorekit-")
    return name


def renamed(text: str, name: str) -> str:
    """The text with every form of "template" replaced by that form of the name."""
    snake, camel = name.replace("-", "_"), "".join(part.capitalize() for part in name.split("-"))
    for old, new in (
        ("scorekit-template", f"scorekit-{name}"),
        ("scorekit_template", f"scorekit_{snake}"),
        ("TemplateProposal", f"{camel}Proposal"),
        ("template_sampler", f"{snake}_sampler"),
        ('"template"', f'"{name}"'),
    ):
        text = text.replace(old, new)
    return text


def main(arguments: list[str]) -> int:
    """Rename everything to the one argument."""
    if len(arguments) != 1:
        sys.exit("usage: python rename.py NAME, where NAME is kebab case, such as my-sampler")
    name = checked(arguments[0])
    if not FOLDER.is_dir():
        sys.exit(f"rename.py: there is no {FOLDER.name} in {FOLDER.parent}: this copy has its name already")
    hidden = {".git", ".venv", "__pycache__", "build", "dist"}
    files = [path for path in sorted(ROOT.rglob("*")) if path.suffix in SUFFIXES and path.name != OWN]
    files = [path for path in files if path.is_file() and hidden.isdisjoint(path.relative_to(ROOT).parts)]
    texts = {path: renamed(path.read_text(encoding="utf-8"), name) for path in files}  # read all before writing any
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    FOLDER.rename(FOLDER.with_name(f"scorekit_{name.replace('-', '_')}"))  # last: it marks the renaming as done
    print(f"renamed to scorekit-{name} in {len(files)} files; now delete rename.py and write your mathematics")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
