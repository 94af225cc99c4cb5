"""`python -m ebm_refine`."""

import sys

from ebm_refine.cli import main

sys.exit(main())
