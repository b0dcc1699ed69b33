"""srlib: the helper package of a study on safety and reasoning in language models."""

import os
import warnings

__version__ = "0.1.0"

# No usage is reported to Hugging Face; whoever wants to be counted sets this to 0.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# A waiting thread of OpenMP spins for about a millisecond and then sleeps. It would spin for ever,
# and where anything else runs on the machine each step of a model then waits for the scheduler.
os.environ.setdefault("GOMP_SPINCOUNT", "200000")
# tqdm's notebook bars need ipywidgets, which is not wanted: bars here are plain text.
warnings.filterwarnings("ignore", message="IProgress not found")
