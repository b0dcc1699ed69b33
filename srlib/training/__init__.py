"""Fine-tuning, supervised and by preference, in one process or several."""
