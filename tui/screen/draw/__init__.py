"""Views as lines: pure functions from the model to what a pane shows. No Textual in here."""
