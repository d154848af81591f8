"""A command: writes what it reads from stdin to the file it is given, and says how much it was."""

import sys
from pathlib import Path

text = sys.stdin.read()
Path(sys.argv[1]).write_text(text, encoding="utf-8")
print(f"{len(text)} characters")
