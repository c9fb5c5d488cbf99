"""The Textual application: renders views, sends commands; never touches chain, vault or journal."""
