"""From graded tables to verdicts: gates, prompts × trainings, frontiers, claims."""
