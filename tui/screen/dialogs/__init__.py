"""Dialogs: each is imported when it is opened."""
