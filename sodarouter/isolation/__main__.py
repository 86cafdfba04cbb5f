"""``python -m sodarouter.isolation NAME SOCKET``: a destination's process. The router starts it, and nobody else."""

import sys

from sodarouter.isolation.inside import main

if __name__ == "__main__":
    main(int(sys.argv[2]))
