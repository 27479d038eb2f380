"""Readers, download, transforms and sources."""
