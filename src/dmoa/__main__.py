"""`python -m dmoa`: the `dmoa` command."""

from __future__ import annotations

from dmoa.cli.main import main

if __name__ == "__main__":
    main()
