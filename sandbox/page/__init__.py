"""The web page of the sandbox: a workspace to look at and use, and a panel to break things."""
