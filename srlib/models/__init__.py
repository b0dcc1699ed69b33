"""Models and their weights: loaded, adapters merged, shared in memory, exported."""
