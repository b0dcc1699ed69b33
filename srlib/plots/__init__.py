"""Figures from tidy tables: each function takes a DataFrame, draws on one Axes and returns it.

The input is the metrics table of `srlib.metrics.tidy`, a row of which is
    arm="direct", data="advbench", metric="refusal_rate", value=0.8, n=10, low=0.490, high=0.943
Nothing but positions is computed here: figures redraw from saved results. Colours (see
`srlib.plots.looks`) are told apart with any colour vision; marks and hatches say the same again.
Letters have 11 points or more, for a wall. Titles are plain ones: put your own with
`ax.set_title(…, loc="left")`. `before_after` and `forest` live in `srlib.plots.claims`, `curves`
and `pairs_bars` in `srlib.plots.training_curves`, `dots` in `srlib.plots.dot_plot`, `frontiers` in
`srlib.plots.frontier_lines`, `growth` in `srlib.plots.panels`, `headline` in
`srlib.plots.front_page`, `confusion`, `detail`, `intentions` and `thought_and_answer` in
`srlib.plots.failure_modes`, `mitigations` in `srlib.plots.mitigation_arrows`.
"""

from .claims import VERDICTS, before_after, forest
from .classes import CLASSES, answer_classes
from .dot_plot import dots
from .failure_modes import confusion, detail, intentions, thought_and_answer
from .front_page import headline
from .looks import AXES, BAD, BETTER, COLOURS, GOOD, INK, MARKERS, PALE, PERCENT, save, style
from .mitigation_arrows import mitigations
from .plane import trade_off
from .training_curves import curves, frontiers, growth, pairs_bars

__all__ = ["AXES", "BAD", "BETTER", "CLASSES", "COLOURS", "GOOD", "INK", "MARKERS", "PALE"]
__all__ += ["PERCENT", "VERDICTS", "answer_classes", "before_after", "dots", "forest", "save"]
__all__ += ["curves", "frontiers", "growth", "headline", "pairs_bars", "style", "trade_off"]
__all__ += ["confusion", "detail", "intentions", "mitigations", "thought_and_answer"]
