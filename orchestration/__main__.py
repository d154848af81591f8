"""``python -m orchestration`` is ``masterloop``."""

from orchestration.cli import main

main()
