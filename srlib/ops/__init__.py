"""Around the notebooks: runs, sweeps, estimates, the report, transcripts."""
