"""The box editor: a page in the browser, and the server behind it, which saves a project and animates it."""
