"""One module a protocol: it reads requests, asks the application, and writes answers and errors in its own shape."""
