"""Prompts in, completions out: here or through a server."""
