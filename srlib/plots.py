"""Figures from tidy tables: each function takes a DataFrame, draws on one Axes and returns it.

The input is the metrics table of `srlib.metrics.tidy`, a row of which is
    arm="direct", data="advbench", metric="refusal_rate", value=0.8, n=10, low=0.490, high=0.943
Nothing but positions is computed here: figures redraw from saved results. Colours (see
`srlib.plot_style`) are told apart with any colour vision; marks and hatches say the same again.
Letters have 11 points or more, for a wall. Titles are plain ones: put your own with
`ax.set_title(…, loc="left")`. `before_after` and `forest` live in `srlib.plot_claims`, `curves` and
`pairs_bars` in `srlib.plot_training`, `dots` in `srlib.plot_dots`, `frontiers` in
`srlib.plot_frontiers`, `growth` in `srlib.plot_panels`, `headline` in `srlib.plot_headline`,
`confusion`, `detail`, `intentions` and `thought_and_answer` in `srlib.plot_failures`, `mitigations`
in `srlib.plot_mitigations`.
"""

from .plot_claims import VERDICTS, before_after, forest
from .plot_classes import CLASSES, answer_classes
from .plot_dots import dots
from .plot_failures import confusion, detail, intentions, thought_and_answer
from .plot_headline import headline
from .plot_mitigations import mitigations
from .plot_plane import trade_off
from .plot_style import AXES, BAD, BETTER, COLOURS, GOOD, INK, MARKERS, PALE, PERCENT, save, style
from .plot_training import curves, frontiers, growth, pairs_bars

__all__ = ["AXES", "BAD", "BETTER", "CLASSES", "COLOURS", "GOOD", "INK", "MARKERS", "PALE"]
__all__ += ["PERCENT", "VERDICTS", "answer_classes", "before_after", "dots", "forest", "save"]
__all__ += ["curves", "frontiers", "growth", "headline", "pairs_bars", "style", "trade_off"]
__all__ += ["confusion", "detail", "intentions", "mitigations", "thought_and_answer"]
