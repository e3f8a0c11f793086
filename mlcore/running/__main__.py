"""``python -m mlcore.running``, started by `run_code` within the sandbox."""

from __future__ import annotations

import sys

from mlcore.running.code import main

sys.exit(main())
