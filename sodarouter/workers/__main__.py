"""``python -m sodarouter.workers SOCKET``: a process that takes in. The router starts it, and nobody else."""

import sys

from sodarouter.workers.inside import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
