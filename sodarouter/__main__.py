"""``python -m sodarouter`` is ``sodarouter``."""

from sodarouter.cli import main

if __name__ == "__main__":
    main()
