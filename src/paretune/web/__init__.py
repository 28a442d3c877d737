"""What a browser reads: one palette, the element that shows a front, and the page of the server."""
