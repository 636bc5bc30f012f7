"""`python -m elman`."""

import sys

from elman.cli import main

sys.exit(main())
