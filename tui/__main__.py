"""`python -m tui` is the `trimtab` command."""

from tui.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
