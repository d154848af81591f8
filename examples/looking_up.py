"""A command: prints what a word means, by the table of a Markdown file, or fails."""

import re
import sys
from pathlib import Path

file, word = sys.argv[1:]
for line in Path(file).read_text(encoding="utf-8").splitlines():
    row = re.fullmatch(r"\| (.+?) \| (.+) \|", line)
    if row and row[1].lower() == word.lower():
        print(row[2])
        break
else:
    sys.exit(f"{file} has no word {word!r}")
