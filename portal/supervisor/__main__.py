"""``python -m portal.supervisor``: the same as ``ml4ep up``."""

import sys

from portal.supervisor.main import up

if __name__ == "__main__":
    sys.exit(up())
