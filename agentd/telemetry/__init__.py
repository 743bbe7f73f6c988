"""Folds of the journal: records to spans, reports and log lines."""
