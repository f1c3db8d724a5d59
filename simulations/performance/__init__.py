"""Speed and memory, as ratios in one run: ``python -m simulations.performance``."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: what is compared has one thread a worker
