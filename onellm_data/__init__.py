"""Signals, raw data sets, shards and mixtures.  Knows no model."""
