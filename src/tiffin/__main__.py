"""`python -m tiffin`: the same as the `tiffin` command. Owns nothing."""

from __future__ import annotations

from tiffin.cli.main import main

if __name__ == "__main__":
    main()
