"""What everything else rests on: kept things, parameters' layers and bounds, files, statistics of
two sides."""
