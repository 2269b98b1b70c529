"""`python -m bot`: the same as `latchkey`."""

import sys

from bot.cli import main

sys.exit(main())
