"""Rows to ask and rows to train on: made here, of a mirror, of the hub, of your own."""
